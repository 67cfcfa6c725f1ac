"""The sync client: standard library only, so that the command line starts fast."""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from trogdor.client import calls
from trogdor.client.calls import MAX_ANSWER_BYTES, Call, Json, Target, Task
from trogdor.client.errors import (
    ClientError,
    DeadlineExceeded,
    Failed,
    NotFound,
    Problem,
    Refused,
    Unreachable,
    error_of,
)
from trogdor.client.lease import Lease
from trogdor.client.sse import Parser

DEFAULT_DEADLINE_S = 30.0


class Connection:
    """Requests to one daemon. Threads may share it: each has a socket of its own."""

    def __init__(self, target: str | Target, daemon: str, deadline_s: float = DEFAULT_DEADLINE_S) -> None:
        self.target = Target.parse(target) if isinstance(target, str) else target
        self.daemon = daemon
        self.deadline_s = deadline_s
        self._local = threading.local()

    def send(self, call: Call) -> Any:
        """The JSON that ``call`` is answered with. Raises ClientError."""
        kept: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        try:
            if kept is not None:
                with contextlib.suppress(http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                    return self._exchange(kept, call)
                kept.close()  # closed by the daemon while idle: every request may be sent twice
            self._local.connection = connection = _connection(self.target, self.deadline_s)
            return self._exchange(connection, call)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(error) from None

    def _exchange(self, connection: http.client.HTTPConnection, call: Call) -> Any:
        _request(connection, call, "application/json")
        response = connection.getresponse()
        body = response.read(MAX_ANSWER_BYTES + 1)
        return read_answer(str(self.target), response.status, body)

    def stream(self, call: Call, silence_s: float) -> Iterator[tuple[str, Any]]:
        """The events that ``call`` is answered with, comments included. Raises ClientError, also when it breaks."""
        connection = _connection(self.target, silence_s)
        try:
            _request(connection, call, "text/event-stream")
            response = connection.getresponse()
            if response.status != 200:
                read_answer(str(self.target), response.status, response.read(MAX_ANSWER_BYTES + 1))
            parser = Parser()
            while line := response.readline():
                if (event := parser.feed(line)) is not None:
                    yield event
        except ValueError as error:
            raise Failed(str(self.target), response.status, f"no event: {error}") from None
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()

    def close(self) -> None:
        """Closes this thread's socket; the next request opens another."""
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _unreachable(self, error: Exception) -> Unreachable:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = "no answer in time" if isinstance(error, TimeoutError) else said
        return Unreachable(str(self.target), reason, self.daemon)


def _request(connection: http.client.HTTPConnection, call: Call, accept: str) -> None:
    headers = {"Accept": accept, **call.headers}
    body = None
    if call.body is not None:
        body = json.dumps(call.body).encode()
        headers["Content-Type"] = "application/json"
    connection.request(call.method, call.path, body, headers)


def _connection(target: Target, deadline_s: float) -> http.client.HTTPConnection:
    if target.path:
        return _UnixConnection(target.path, deadline_s)
    return http.client.HTTPConnection(target.host, target.port, timeout=deadline_s)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, deadline_s: float) -> None:
        super().__init__("localhost", timeout=deadline_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def read_answer(address: str, status: int, body: bytes) -> Any:
    """The JSON of an answer. Raises the ClientError that its status stands for."""
    if len(body) > MAX_ANSWER_BYTES:
        raise Failed(address, status, f"an answer of more than {MAX_ANSWER_BYTES} bytes")
    try:
        answer = json.loads(body) if body else {}
    except ValueError:
        raise Failed(address, status, f"no JSON, but {body[:100]!r}; is this a Trogdor?") from None
    if status == 200:
        return answer
    message = answer.get("message", "") if isinstance(answer, dict) else str(answer)
    raise error_of(address, status, message)


class _Client:
    """What both daemons have in common."""

    _daemon = ""

    def __init__(self, target: str | Target, deadline_s: float = DEFAULT_DEADLINE_S) -> None:
        """``target`` is ``HOST:PORT`` or ``unix:PATH``; no request waits longer than ``deadline_s`` for an answer."""
        self._connection = Connection(target, self._daemon, deadline_s)

    @property
    def target(self) -> Target:
        """Where the daemon listens."""
        return self._connection.target

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def _get(self, path: str) -> Any:
        return self._connection.send(Call("GET", path))

    def status(self) -> dict[str, Json]:
        """``{"serverStartMs": …}``; of an agent with its ``workers`` too."""
        return self._get(f"/{self._daemon}/status")  # type: ignore[no-any-return]

    def uptime(self) -> dict[str, Json]:
        """``{"serverStartMs": …, "nowMs": …}``, ms since the epoch."""
        return self._get(f"/{self._daemon}/uptime")  # type: ignore[no-any-return]

    def faults(self) -> dict[str, Json]:
        """What is in force now, and until when."""
        return self._get(f"/{self._daemon}/faults")  # type: ignore[no-any-return]

    def freeze(self, nodes: Sequence[str] = ()) -> None:
        """Refuses new faults from now on, also after a restart; ``nodes``: of a coordinator, on these nodes alone."""
        self._connection.send(calls.freeze(self._daemon, "freeze", nodes))

    def thaw(self, nodes: Sequence[str] = ()) -> None:
        """Ends ``freeze``."""
        self._connection.send(calls.freeze(self._daemon, "thaw", nodes))


class Client(_Client):
    """A coordinator's client: ``Client("localhost:8889").create_task("t1", {"class": "NoOpTaskSpec"})``.

    Every method raises Unreachable, Refused (NotFound, Conflict) or Failed.
    """

    _daemon = "coordinator"

    def create_task(
        self, task_id: str, spec: Mapping[str, Json], lease: Lease | None = None, *, check: bool = True
    ) -> None:
        """Creates a task; it is on the coordinator's disk when this returns. The same again is no error.

        Everything wrong with it is found beforehand (``check``; skipped where the coordinator is a Java one) and
        raised as Refused with all problems. With ``lease`` it ends within 5 s when this process is gone.
        """
        if check:
            self._check(task_id, spec)
        self._connection.send(calls.create_task(task_id, spec, lease.id if lease else None))

    def _check(self, task_id: str, spec: Mapping[str, Json]) -> None:
        try:
            problems = self.check(task_id, spec)["problems"]
        except NotFound:
            return
        if problems:
            raise Refused(str(self.target), [Problem(entry["path"], entry["message"]) for entry in problems])

    def check(self, task_id: str, spec: Mapping[str, Json]) -> dict[str, Json]:
        """``{"problems": [{"path", "message", "kind"}], "nodes": […]}``; changes nothing."""
        return self._connection.send(calls.check(task_id, spec))  # type: ignore[no-any-return]

    def plan(self, task_id: str, spec: Mapping[str, Json]) -> dict[str, Json]:
        """As ``check``, with ``plans``: node → what its agent would claim, what undoes it; changes nothing."""
        return self._connection.send(calls.plan_task(task_id, spec))  # type: ignore[no-any-return]

    def task(self, task_id: str) -> Task:
        """One task. Raises NotFound."""
        return self._connection.send(calls.task(task_id))  # type: ignore[no-any-return]

    def tasks(
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
        return self._connection.send(call).get("tasks", {})  # type: ignore[no-any-return]

    def stop_task(self, task_id: str) -> None:
        """Stops a task; one that is unknown or done already is no error."""
        self._connection.send(calls.stop_task(task_id))

    def destroy_task(self, task_id: str) -> None:
        """Stops a task and forgets it."""
        self._connection.send(calls.destroy_task(task_id))

    def children(self, task_id: str) -> dict[str, Task]:
        """The tasks that a composite task is made of, by id."""
        return self._connection.send(calls.children(task_id)).get("tasks", {})  # type: ignore[no-any-return]

    def nodes(self) -> dict[str, dict[str, Json]]:
        """What the coordinator knows of each node: kind, up, last seen, offset of its clock."""
        return self._get("/coordinator/nodes")["nodes"]  # type: ignore[no-any-return]

    def events(self, after: int | None = None, limit: int | None = None) -> list[dict[str, Json]]:
        """The events stored so far, oldest first, those after sequence number ``after`` if given."""
        return self._connection.send(calls.events("coordinator", after, limit))["events"]  # type: ignore[no-any-return]

    def follow(self, after: int | None = None, silence_s: float = 5.0) -> Iterator[dict[str, Json]]:
        """Events as they come, for ever. Raises Unreachable when the daemon is silent for ``silence_s``."""
        stream = self._connection.stream(calls.events("coordinator", after, None), silence_s)
        return (data for kind, data in stream if kind)

    def mark(self, text: str) -> None:
        """Puts a user's mark into the events."""
        self._connection.send(Call("POST", "/coordinator/mark", {"text": text}))

    def heal(self) -> dict[str, Json]:
        """Stops every task; returns when all are final: ``{"stopped": [ids], "remaining": {task: [nodes]}}``."""
        return self._connection.send(Call("PUT", "/coordinator/heal", {}))  # type: ignore[no-any-return]

    def shutdown(self, stop_agents: bool = False) -> None:
        """Ends every fault and the coordinator, with ``stop_agents`` the agents too."""
        self._connection.send(Call("PUT", "/coordinator/shutdown", {"stopAgents": stop_agents}))
        self.close()

    def wait_for_done(self, task_id: str, deadline_s: float) -> Task:
        """The task once it is DONE. Raises DeadlineExceeded after ``deadline_s``, NotFound when there is no such."""
        end = time.monotonic() + deadline_s
        pause_s = 0.005
        while (task := self.task(task_id))["state"] != "DONE":
            if time.monotonic() + pause_s > end:
                raise DeadlineExceeded(f"task {task_id} is still {task['state']} at {self.target} after {deadline_s} s")
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.1)
        return task

    def lease(self) -> Lease:
        """``with client.lease() as lease:`` tasks created with it end when the block does, or within 5 s of a crash."""
        return Lease(self._connection)


class AgentClient(_Client):
    """An agent's client. Every method raises Unreachable, Refused (NotFound, Conflict) or Failed."""

    _daemon = "agent"

    def create_worker(self, worker_id: int, task_id: str, spec: Mapping[str, Json]) -> None:
        """Starts a worker at once, whatever the spec's ``startMs`` says, as upstream's agent does."""
        self._connection.send(calls.create_worker(worker_id, task_id, spec))

    def stop_worker(self, worker_id: int) -> None:
        """Stops a worker; one that is unknown is no error."""
        self._connection.send(calls.stop_worker(worker_id))

    def destroy_worker(self, worker_id: int) -> None:
        """Stops a worker and forgets it."""
        self._connection.send(calls.destroy_worker(worker_id))

    def features(self) -> dict[str, Json]:
        """What this agent can do. Raises NotFound when it is a Java agent."""
        return self._get("/agent/features")  # type: ignore[no-any-return]

    def follow(self, silence_s: float = 5.0) -> Iterator[dict[str, Json]]:
        """Changes of workers as they come, first a ``hello`` with all of them; each with its ``type``."""
        stream = self._connection.stream(calls.events("agent", None, None), silence_s)
        return ({"type": kind, **data} for kind, data in stream if kind)

    def shutdown(self) -> None:
        """Ends every fault on the node, and the agent."""
        self._connection.send(Call("PUT", "/agent/shutdown"))
        self.close()


__all__ = ["AgentClient", "Client", "ClientError", "Connection", "Lease"]
