"""The async client, over aiohttp: the sync client's methods as coroutines."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp

from trogdor.client import calls
from trogdor.client.calls import MAX_ANSWER_BYTES, Call, Json, Target, Task
from trogdor.client.errors import ClientError, DeadlineExceeded, Failed, NotFound, Problem, Refused, Unreachable
from trogdor.client.lease import OPEN_DEADLINE_S, SILENCE_S
from trogdor.client.sse import MAX_EVENT_BYTES, Parser
from trogdor.client.sync import DEFAULT_DEADLINE_S, read_answer


class AsyncConnection:
    """Requests to one daemon, by connections that are kept."""

    def __init__(self, target: str | Target, daemon: str, deadline_s: float = DEFAULT_DEADLINE_S) -> None:
        self.target = Target.parse(target) if isinstance(target, str) else target
        self.daemon = daemon
        self.deadline_s = deadline_s
        host = f"[{self.target.host}]" if ":" in self.target.host else self.target.host
        self._base = "http://localhost" if self.target.path else f"http://{host}:{self.target.port}"
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            connector = aiohttp.UnixConnector(self.target.path) if self.target.path else aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector, read_bufsize=MAX_EVENT_BYTES)
        return self._session

    async def send(self, call: Call, deadline_s: float | None = None) -> Any:
        """The JSON that ``call`` is answered with. Raises ClientError."""
        timeout = aiohttp.ClientTimeout(total=deadline_s or self.deadline_s)
        try:
            async with self._request(call, timeout) as response:
                status, body = response.status, await response.read()
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            raise self._unreachable(error) from None
        return read_answer(str(self.target), status, body)

    def _request(self, call: Call, timeout: aiohttp.ClientTimeout, accept: str = "application/json") -> Any:
        headers = {"Accept": accept, **call.headers}
        url = self._base + call.path
        session = self._open()
        if call.body is None:
            return session.request(call.method, url, headers=headers, timeout=timeout)
        return session.request(call.method, url, json=call.body, headers=headers, timeout=timeout)

    async def stream(self, call: Call, silence_s: float) -> AsyncIterator[tuple[str, Any]]:
        """The events that ``call`` is answered with, comments included. Raises ClientError, also when it breaks."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=silence_s, sock_read=silence_s)
        parser = Parser()
        try:
            response = await self._request(call, timeout, "text/event-stream")
            try:
                if response.status != 200:
                    read_answer(str(self.target), response.status, await response.content.read(MAX_ANSWER_BYTES))
                while line := await _line(response.content, silence_s):
                    if (event := parser.feed(line)) is not None:
                        yield event
            except ValueError as error:
                raise Failed(str(self.target), response.status, f"no event: {error}") from None
            finally:
                response.close()
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            raise self._unreachable(error) from None

    async def close(self) -> None:
        """Closes the connections; the next request opens another."""
        if self._session is not None:
            await self._session.close()

    def _unreachable(self, error: BaseException) -> Unreachable:
        reason = "no answer in time" if isinstance(error, TimeoutError) else _said_by(error)
        connected = not isinstance(error, aiohttp.ClientConnectorError)
        return Unreachable(str(self.target), reason, self.daemon, connected)


def _said_by(error: BaseException) -> str:
    """In the system's words, without asyncio's and aiohttp's around them."""
    if (number := getattr(error, "errno", None)) and number > 0:
        return os.strerror(number)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


async def _line(content: aiohttp.StreamReader, silence_s: float) -> bytes:
    """The next line. Raises TimeoutError, also where the session was closed under a reader, which aiohttp forgets."""
    async with asyncio.timeout(silence_s):
        return await content.readline()


class _AsyncClient:
    _daemon = ""

    def __init__(self, target: str | Target, deadline_s: float = DEFAULT_DEADLINE_S) -> None:
        """``target`` is ``HOST:PORT`` or ``unix:PATH``; no request waits longer than ``deadline_s`` for an answer."""
        self._connection = AsyncConnection(target, self._daemon, deadline_s)

    @property
    def target(self) -> Target:
        """Where the daemon listens."""
        return self._connection.target

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._connection.close()

    async def _get(self, path: str) -> Any:
        return await self._connection.send(Call("GET", path))

    async def status(self) -> dict[str, Json]:
        """``{"serverStartMs": …}``; of an agent with its ``workers`` too."""
        return await self._get(f"/{self._daemon}/status")  # type: ignore[no-any-return]

    async def uptime(self) -> dict[str, Json]:
        """``{"serverStartMs": …, "nowMs": …}``, ms since the epoch."""
        return await self._get(f"/{self._daemon}/uptime")  # type: ignore[no-any-return]

    async def faults(self) -> dict[str, Json]:
        """What is in force now, and until when."""
        return await self._get(f"/{self._daemon}/faults")  # type: ignore[no-any-return]

    async def freeze(self, nodes: Sequence[str] = ()) -> None:
        """Refuses new faults from now on, also after a restart; ``nodes``: of a coordinator, on these nodes alone."""
        await self._connection.send(calls.freeze(self._daemon, "freeze", nodes))

    async def thaw(self, nodes: Sequence[str] = ()) -> None:
        """Ends ``freeze``."""
        await self._connection.send(calls.freeze(self._daemon, "thaw", nodes))


class AsyncClient(_AsyncClient):
    """A coordinator's client; see Client for what each method does and raises."""

    _daemon = "coordinator"

    async def create_task(
        self, task_id: str, spec: Mapping[str, Json], lease: "AsyncLease | None" = None, *, check: bool = True
    ) -> None:
        """Creates a task, after a check for everything wrong with it unless ``check`` is false."""
        if check:
            await self._check(task_id, spec)
        await self._connection.send(calls.create_task(task_id, spec, lease.id if lease else None))

    async def _check(self, task_id: str, spec: Mapping[str, Json]) -> None:
        try:
            problems = (await self.check(task_id, spec))["problems"]
        except NotFound:
            return
        if problems:
            raise Refused(str(self.target), [Problem(entry["path"], entry["message"]) for entry in problems])

    async def check(self, task_id: str, spec: Mapping[str, Json]) -> dict[str, Json]:
        """``{"problems": [{"path", "message", "kind"}], "nodes": […]}``; changes nothing."""
        return await self._connection.send(calls.check(task_id, spec))  # type: ignore[no-any-return]

    async def plan(self, task_id: str, spec: Mapping[str, Json]) -> dict[str, Json]:
        """As ``check``, with ``plans``: node → what its agent would claim, what undoes it; changes nothing."""
        return await self._connection.send(calls.plan_task(task_id, spec))  # type: ignore[no-any-return]

    async def task(self, task_id: str) -> Task:
        """One task. Raises NotFound."""
        return await self._connection.send(calls.task(task_id))  # type: ignore[no-any-return]

    async def tasks(
        self,
        ids: Sequence[str] = (),
        state: str | None = None,
        *,
        first_start_ms: int | None = None,
        last_start_ms: int | None = None,
        first_end_ms: int | None = None,
        last_end_ms: int | None = None,
    ) -> dict[str, Task]:
        """The tasks by id that pass every filter given; times are inclusive, in ms since the epoch."""
        call = calls.tasks(ids, state, (first_start_ms, last_start_ms), (first_end_ms, last_end_ms))
        return (await self._connection.send(call)).get("tasks", {})  # type: ignore[no-any-return]

    async def stop_task(self, task_id: str) -> None:
        """Stops a task; one that is unknown or done already is no error."""
        await self._connection.send(calls.stop_task(task_id))

    async def destroy_task(self, task_id: str) -> None:
        """Stops a task and forgets it."""
        await self._connection.send(calls.destroy_task(task_id))

    async def children(self, task_id: str) -> dict[str, Task]:
        """The tasks that a composite task is made of, by id."""
        return (await self._connection.send(calls.children(task_id))).get("tasks", {})  # type: ignore[no-any-return]

    async def nodes(self) -> dict[str, dict[str, Json]]:
        """What the coordinator knows of each node: kind, up, last seen, offset of its clock."""
        return (await self._get("/coordinator/nodes"))["nodes"]  # type: ignore[no-any-return]

    async def events(self, after: int | None = None, limit: int | None = None) -> list[dict[str, Json]]:
        """The events stored so far, oldest first, those after sequence number ``after`` if given."""
        answer = await self._connection.send(calls.events("coordinator", after, limit))
        return answer["events"]  # type: ignore[no-any-return]

    async def follow(self, after: int | None = None, silence_s: float = 5.0) -> AsyncIterator[dict[str, Json]]:
        """Events as they come, for ever. Raises Unreachable when the daemon is silent for ``silence_s``."""
        async for kind, data in self._connection.stream(calls.events("coordinator", after, None), silence_s):
            if kind:
                yield data

    async def mark(self, text: str) -> None:
        """Puts a user's mark into the events."""
        await self._connection.send(Call("POST", "/coordinator/mark", {"text": text}))

    async def heal(self) -> dict[str, Json]:
        """Stops every task; returns when all are final: ``{"stopped": [ids], "remaining": {task: [nodes]}}``."""
        return await self._connection.send(Call("PUT", "/coordinator/heal", {}))  # type: ignore[no-any-return]

    async def shutdown(self, stop_agents: bool = False) -> None:
        """Ends every fault and the coordinator, with ``stop_agents`` the agents too."""
        await self._connection.send(Call("PUT", "/coordinator/shutdown", {"stopAgents": stop_agents}))

    async def wait_for_done(self, task_id: str, deadline_s: float) -> Task:
        """The task once it is DONE. Raises DeadlineExceeded after ``deadline_s``, NotFound when there is no such."""
        end = time.monotonic() + deadline_s
        pause_s = 0.005
        while (task := await self.task(task_id))["state"] != "DONE":
            if time.monotonic() + pause_s > end:
                raise DeadlineExceeded(f"task {task_id} is still {task['state']} at {self.target} after {deadline_s} s")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.1)
        return task

    def lease(self) -> "AsyncLease":
        """``async with client.lease() as lease:`` tasks created with it end when the block does."""
        return AsyncLease(self._connection)


class AsyncLease:
    """As Lease, held open by a task of the event loop."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._id: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._holder: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        """What tasks of this lease are created with. Raises Unreachable once the lease is lost."""
        if self._holder is not None and self._holder.done():
            self._holder.result()
        return self._id.result()

    async def __aenter__(self) -> Self:
        self._holder = asyncio.create_task(self._hold())
        granted: list[asyncio.Future[Any]] = [self._id, self._holder]
        await asyncio.wait(granted, timeout=OPEN_DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
        if self._holder.done():
            self._holder.result()
        if not self._id.done():
            self._holder.cancel()
            raise Unreachable(str(self._connection.target), "no lease was granted in time")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Stops the tasks of this lease and returns once each is final. Raises Unreachable."""
        assert self._holder is not None
        lost = self._holder.done()
        self._holder.cancel()
        if not lost:
            await self._connection.send(calls.end_lease(self._id.result()))

    async def _hold(self) -> None:
        heard_s = time.monotonic()
        while True:
            known = self._id.result() if self._id.done() else None
            try:
                async for kind, data in self._connection.stream(calls.lease(known), SILENCE_S):
                    heard_s = time.monotonic()
                    if kind and not self._id.done():
                        self._id.set_result(data["id"])
            except NotFound:
                raise
            except ClientError:
                if not self._id.done() or time.monotonic() - heard_s > SILENCE_S + 5:
                    raise
            await asyncio.sleep(0.1)


class AsyncAgentClient(_AsyncClient):
    """An agent's client; see AgentClient for what each method does and raises."""

    _daemon = "agent"

    async def create_worker(self, worker_id: int, task_id: str, spec: Mapping[str, Json]) -> None:
        """Starts a worker at once, whatever the spec's ``startMs`` says, as upstream's agent does."""
        await self._connection.send(calls.create_worker(worker_id, task_id, spec))

    async def stop_worker(self, worker_id: int) -> None:
        """Stops a worker; one that is unknown is no error."""
        await self._connection.send(calls.stop_worker(worker_id))

    async def destroy_worker(self, worker_id: int) -> None:
        """Stops a worker and forgets it."""
        await self._connection.send(calls.destroy_worker(worker_id))

    async def features(self) -> dict[str, Json]:
        """What this agent can do. Raises NotFound when it is a Java agent."""
        return await self._get("/agent/features")  # type: ignore[no-any-return]

    async def follow(self, silence_s: float = 5.0) -> AsyncIterator[dict[str, Json]]:
        """Changes of workers as they come, first a ``hello`` with all of them; each with its ``type``."""
        async for kind, data in self._connection.stream(calls.events("agent", None, None), silence_s):
            if kind:
                yield {"type": kind, **data}

    async def shutdown(self) -> None:
        """Ends every fault on the node, and the agent."""
        await self._connection.send(Call("PUT", "/agent/shutdown"))
