"""Agents as the coordinator sees them: kept in touch with, told of workers, asked how they are.

Ours are told ahead of the instant and report over a held-open stream. Those without ``/agent/features`` are Java:
told at the instant, and polled.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from trogdor.client import calls
from trogdor.client.calls import Call, Target
from trogdor.client.errors import ClientError, NotFound, Refused, Unreachable
from trogdor.coordinator import addresses, java
from trogdor.coordinator.state import Phase, State, Worker
from trogdor.coordinator.store import StoreError
from trogdor.instant import NS_PER_MS, NS_PER_S, Clock, Offsets
from trogdor.topology import Node

if TYPE_CHECKING:
    from trogdor.client.aio import AsyncConnection
    from trogdor.coordinator.tasks import Tasks

log = logging.getLogger(__name__)

BEAT_S = 2.0
FIRST_BEATS = 5
"""Samples of the clock's offset taken at once when an agent is met."""
LEASE_NS = 10 * NS_PER_S
SILENCE_S = 3.0
"""An agent that was silent this long is met anew."""
RETRY_S = 0.5
REQUEST_S = 5.0
AT_ONCE = 16
"""Requests to one agent at a time."""
SETTLE_S = 0.5
"""After a stop was acknowledged, how long its outcome may take before the agent is asked for it."""

Kind = Literal["unknown", "own", "java"]


class Agent:
    """One node's agent. ``run`` keeps in touch with it; the rest tells it what to do, again until it has heard."""

    def __init__(self, node: Node, tasks: "Tasks", clock: Clock, identity: str, hostname: str) -> None:
        """``hostname``: where it is reached."""
        self.node = node
        self.kind: Kind = "unknown"
        self.up = False
        self.features: dict[str, Any] = {}
        self.offsets = Offsets()
        """Between the two CLOCK_BOOTTIME: what instants are told with."""
        self.wall_offsets = Offsets()
        """Between the two wall clocks: what people are shown."""
        self.overdue: list[dict[str, Any]] = []
        """What it could not undo, as ``GET /agent/faults`` shows it."""
        self.strangers: dict[int, Any] = {}
        """Workers that no task of ours knows."""
        self.heard_ns = 0
        """When it last answered, by our CLOCK_BOOTTIME; 0: never."""
        self.lease_sent_ns = 0
        """When it may last have heard from us: its armed workers may fire for ten seconds from then on."""
        self.addresses: tuple[str, ...] = ()
        self.process_start_ns = 0
        """When its process started, by our CLOCK_BOOTTIME."""
        self.target = Target(hostname, node.agent_port or 0)
        self.connection: AsyncConnection
        """There once it is being kept in touch with."""
        self._tasks = tasks
        self._clock = clock
        self._identity = identity
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._jobs: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._ours: tuple[str, ...] = ()
        self._reported_down = False

    # Keeping in touch.

    async def run(self) -> None:
        """Meets the agent, stays in touch, and meets it again when it was lost; until cancelled."""
        self.connection = await asyncio.to_thread(_connection, self.target)
        try:
            while True:
                try:
                    await self._meet()
                    await (java.poll(self) if self.kind == "java" else self._stay_in_touch())
                except Exception as error:  # whatever it answered: it is asked again
                    self._lost(error)
                await asyncio.sleep(RETRY_S)
        finally:
            for job in list(self._jobs.values()):
                job.cancel()
            await self.connection.close()

    async def _meet(self) -> None:
        self.addresses = await asyncio.to_thread(addresses.of, self.node)
        self._ours = addresses.ours_towards(self.addresses)
        try:
            self.features = await self.connection.send(Call("GET", "/agent/features"), SILENCE_S)
            self.kind = "own"
        except NotFound:
            self.features, self.kind = {}, "java"
        uptime = await self.connection.send(Call("GET", "/agent/uptime"), SILENCE_S)
        age_ns = (uptime["nowMs"] - uptime["serverStartMs"]) * NS_PER_MS
        self.process_start_ns = self._clock.boot_ns() - age_ns
        self.heard()

    async def _stay_in_touch(self) -> None:
        self.offsets.forget()
        self.wall_offsets.forget()
        for _ in range(FIRST_BEATS):
            await self.beat()
        beating = asyncio.create_task(self._beat_on())
        listening = asyncio.create_task(self._listen())
        try:
            await asyncio.wait([beating, listening], return_when=asyncio.FIRST_COMPLETED)
            for ended in (beating, listening):
                if ended.done():
                    ended.result()
        finally:
            for running in (beating, listening):
                running.cancel()
            await asyncio.gather(beating, listening, return_exceptions=True)

    async def beat(self) -> None:
        """Renews the lease of what is armed there; a sample of its clock's offset."""
        self.lease_sent_ns = sent_ns = self._clock.boot_ns()
        sent_wall_ns = self._clock.wall_ns()
        body = {"coordinator": self._identity, "sentNs": sent_ns}
        answer = await self.connection.send(Call("POST", "/agent/lease", body), SILENCE_S)
        self.offsets.add(sent_ns, self._clock.boot_ns(), answer["bootNs"])
        wall_ns = answer["wallMs"] * NS_PER_MS + NS_PER_MS // 2  # it is rounded down
        self.wall_offsets.add(sent_wall_ns, self._clock.wall_ns(), wall_ns)
        self.overdue = answer.get("overdue", [])
        self.features["frozen"] = answer.get("frozen", False)
        self.heard()

    async def _beat_on(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            await self.beat()

    async def _listen(self) -> None:
        opened_ns = self._clock.boot_ns()
        async for kind, data in self.connection.stream(calls.events("agent", None, None), SILENCE_S):
            self.heard()
            if kind == "hello":
                self._found()
                self.reconcile({int(key): shown for key, shown in data.get("workers", {}).items()}, opened_ns)
            elif kind == "worker":
                self._tasks.worker_changed(self, int(data["workerId"]), data["worker"])

    def heard(self) -> None:
        """It has just answered."""
        self.heard_ns = self._clock.boot_ns()

    def _found(self) -> None:
        self.up = True
        self._reported_down = False
        self._tasks.node_changed(self, "node-up")

    def _lost(self, error: Exception) -> None:
        self.up = False
        if not self._reported_down:
            self._reported_down = True
            unforeseen = None if isinstance(error, ClientError) else error
            log.warning("the agent of %s is lost: %s", self.node.name, error, exc_info=unforeseen)
            self._tasks.node_changed(self, "node-down", str(error) or repr(error))

    def reconcile(self, workers: Mapping[int, dict[str, Any]], asked_ns: int) -> None:
        """Compares what the agent had at ``asked_ns`` or later with what it should have, and sets both right."""
        self.strangers.clear()
        for worker_id, shown in workers.items():
            self._tasks.worker_changed(self, worker_id, shown)
        for worker in self._tasks.workers_on(self.node.name):
            if worker.id not in workers:
                if worker.shipped_boot_ns < asked_ns:
                    self._tasks.worker_missing(self, worker)
            elif worker.task.state is State.STOPPING and worker.phase is not Phase.DONE:
                self.stop(worker)

    def polled(self, workers: Mapping[int, dict[str, Any]], asked_ns: int) -> None:
        """What a Java agent was seen to have."""
        if not self.up:
            self._found()
        self.reconcile(workers, asked_ns)

    async def shipping(self, worker: Worker) -> None:
        """Returns once it is on disk that this agent may have been told of a worker."""
        await self._tasks.shipping(worker)

    @property
    def frozen(self) -> bool:
        """Whether it refuses new faults, by what it said last."""
        return self.features.get("frozen") is True

    async def freeze(self, frozen: bool) -> None:
        """Has it refuse new faults, durably, or allow them again. Raises ClientError."""
        await self.connection.send(Call("PUT", f"/agent/{'freeze' if frozen else 'thaw'}", {}))
        self.features["frozen"] = frozen

    def now_ns(self) -> int:
        """Now, by our CLOCK_BOOTTIME."""
        return self._clock.boot_ns()

    # Telling it what to do. Each is tried again until it is heard, or done with when the agent is met again.

    def ship(self, worker: Worker) -> None:
        """Tells the agent of a worker: ours ahead of its instant, Java's at it."""
        if self.kind == "java":
            self._start("create", worker, lambda: java.create(self, worker), worker.task.start_boot_ns)
        else:
            self._start("arm", worker, lambda: self._arm(worker))

    def ship_anew(self, worker: Worker) -> None:
        """Tells the agent of a worker that it has had, and that has never started."""
        if self.kind == "java":
            at_ns = worker.task.start_boot_ns + worker.late_ns
            self._start("anew", worker, lambda: java.create_anew(self, worker), at_ns)
        else:
            self._start("anew", worker, lambda: self._arm_anew(worker))

    async def _arm_anew(self, worker: Worker) -> None:
        late_ns = -1
        while worker.late_ns != late_ns:  # which a further failure makes later still
            late_ns = worker.late_ns
            await self.connection.send(calls.destroy_worker(worker.id))
            await self._arm(worker)

    def stop(self, worker: Worker) -> None:
        """Ends a worker, fired or not."""
        self._start("stop", worker, lambda: self._stop(worker))

    def forget(self, worker_id: int) -> None:
        """Lets the agent forget a worker whose end is on disk here."""
        if self.up and ("forget", worker_id) not in self._jobs:
            self._tasks.store.flush_then(lambda: self._spawn(("forget", worker_id), self._forget(worker_id)))

    def refuse(self, worker: Worker, reason: str) -> None:
        """The agent cannot be given this worker."""
        self._tasks.worker_failed(worker, reason)

    def _start(self, what: str, worker: Worker, job: Callable[[], Awaitable[None]], at_ns: int = 0) -> None:
        key = (what, worker.id)
        if self.up and key not in self._jobs:
            self._spawn(key, self._until_heard(worker, job, at_ns))

    def _spawn(self, key: tuple[str, int], job: Coroutine[Any, Any, None]) -> None:
        self._jobs[key] = asyncio.create_task(self._run_job(key, job))

    async def _run_job(self, key: tuple[str, int], job: Coroutine[Any, Any, None]) -> None:
        try:
            await job
        finally:
            self._jobs.pop(key, None)

    async def _until_heard(self, worker: Worker, job: Callable[[], Awaitable[None]], at_ns: int) -> None:
        await asyncio.sleep(max(0, at_ns - self._clock.boot_ns()) / NS_PER_S)
        while worker.phase is not Phase.DONE and self.up:
            try:
                async with self._slots:
                    await job()
            except Refused as error:
                self.refuse(worker, "; ".join(map(str, error.problems)))
            except (ClientError, StoreError) as error:
                log.warning("%s of task %s: %s", self.node.name, worker.task.id, error)
                await asyncio.sleep(RETRY_S)
                continue
            return

    async def _arm(self, worker: Worker) -> None:
        if worker.task.state is State.STOPPING:
            return
        before_ns, began_ns = worker.shipped_boot_ns, self._clock.boot_ns()
        worker.shipped_boot_ns = self.lease_sent_ns = began_ns
        try:
            answer = await self.connection.send(Call("POST", "/agent/worker/arm", self._arming(worker)))
        except Unreachable as error:
            if not error.connected:
                worker.shipped_boot_ns = before_ns
            raise
        self._tasks.armed_within(self._clock.boot_ns() - began_ns)
        self.heard()
        self._tasks.worker_armed(worker, answer.get("state", "STARTING"))

    def _arming(self, worker: Worker) -> dict[str, Any]:
        task = worker.task
        best = self.offsets.best
        offset_ns = best.offset_ns if best else 0
        return {
            "workerId": worker.id,
            "taskId": task.id,
            "coordinator": self._identity,
            "nodeName": worker.node,
            "spec": task.spec.to_json(),
            "startNs": task.start_boot_ns + worker.late_ns + offset_ns,
            "endNs": task.start_boot_ns + worker.late_ns + task.spec.duration_ms * NS_PER_MS + offset_ns,
            "leaseNs": LEASE_NS,
            "wallOffsetNs": self._clock.wall_ns() - self._clock.boot_ns() - offset_ns,
            "peers": self._tasks.peers_of(worker),
            "exempt": self._ours,
        }

    async def _stop(self, worker: Worker) -> None:
        for what in ("arm", "anew", "create"):
            if (telling := self._jobs.get((what, worker.id))) is not None:
                await asyncio.wait([telling], timeout=REQUEST_S)
        await self.connection.send(calls.stop_worker(worker.id))
        self.heard()
        self._spawn(("settle", worker.id), self._settle(worker))

    async def _settle(self, worker: Worker) -> None:
        await asyncio.sleep(SETTLE_S)
        if worker.phase is Phase.DONE:
            return
        with suppress(ClientError):  # when it is met again
            status = await self.connection.send(Call("GET", "/agent/status"))
            found = status.get("workers", {}).get(str(worker.id))
            if found is None:
                self._tasks.worker_missing(self, worker)
            else:
                self._tasks.worker_changed(self, worker.id, java.shown(found) if self.kind == "java" else found)

    async def _forget(self, worker_id: int) -> None:
        with suppress(ClientError):  # when it is met again
            async with self._slots:
                await self.connection.send(calls.destroy_worker(worker_id))

    async def withdraw(self, worker: Worker) -> None:
        """Disarms a worker that has not fired, as if the agent had never been told of it."""
        self._tasks.withdrawing(worker)
        with suppress(ClientError):
            await self.connection.send(calls.stop_worker(worker.id))
            await self.connection.send(calls.destroy_worker(worker.id))
            self._tasks.withdrawn(worker)

    async def plan(self, spec: Mapping[str, Any]) -> Any:
        """What the node would do for a spec, as its agent says; or a ``problem``."""
        if self.kind == "java":
            return {"problem": "", "claims": [], "unverified": java.NOTE}
        try:
            return await self.connection.send(calls.plan(spec, self.node.name), REQUEST_S)
        except ClientError as error:
            return {"problem": str(error), "claims": [], "unverified": ""}

    def shown(self) -> dict[str, Any]:
        """As ``GET /coordinator/nodes`` has it. Times in ms; ``offsetMs`` is its wall clock minus ours."""
        best = self.wall_offsets.best
        shown: dict[str, Any] = {
            "kind": self.kind,
            "up": self.up,
            "address": str(self.target),
            "lastSeenMs": self._wall_ms(self.heard_ns) if self.heard_ns else None,
            "offsetMs": best.offset_ns / NS_PER_MS if best else None,
            "uncertaintyMs": best.uncertainty_ns / NS_PER_MS if best else None,
            "tags": sorted(self.node.tags),
        }
        if self.features:
            shown["features"] = self.features
        if self.kind == "java":
            shown["note"] = java.NOTE
        if self.strangers:
            shown["strangers"] = {str(worker_id): worker for worker_id, worker in self.strangers.items()}
        return shown

    def _wall_ms(self, boot_ns: int) -> int:
        return (self._clock.wall_ns() + boot_ns - self._clock.boot_ns()) // NS_PER_MS


def _connection(target: Target) -> "AsyncConnection":
    from trogdor.client.aio import AsyncConnection  # with aiohttp, after the first answers have been given

    return AsyncConnection(target, "agent", REQUEST_S)
