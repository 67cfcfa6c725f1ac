"""Tasks: created, shipped to the agents, started, stopped, over. All on one event loop; on disk before it is said."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from typing import Any

from trogdor.compose.expand import is_composite
from trogdor.coordinator import admission
from trogdor.coordinator.composites import Composites
from trogdor.coordinator.events import Events
from trogdor.coordinator.identity import Identity
from trogdor.coordinator.nodes import LEASE_NS, Agent
from trogdor.coordinator.state import Phase, State, Task, Worker, dump
from trogdor.coordinator.store import TASKS, WORKERS, Store, StoreError
from trogdor.instant import NS_PER_MS, NS_PER_S, Clock
from trogdor.spec import Spec
from trogdor.topology import Topology
from trogdor.wire.errors import BadRequest, Conflict, Unavailable

log = logging.getLogger(__name__)

SHIP_AHEAD_NS = 60 * NS_PER_S
"""How long before its instant a worker is shipped: agents hold what is near, whatever waits in the store."""
LEAST_ARMINGS = 16
LEAST_MARGIN_NS, MOST_MARGIN_NS = 20 * NS_PER_MS, 200 * NS_PER_MS
"""How far ahead the common instant of a task for now lies, at least and at most."""
EXPANDING_NS = 50 * NS_PER_MS
"""How much further ahead a composite for now starts, so that its children are on disk and shipped by then."""
MARGIN_MEMORY_NS = 60 * NS_PER_S
OVERDUE_NS = 5 * NS_PER_S
"""How long after its end a fault's agent may be silent before its task is given up."""
ACKNOWLEDGED_S = 1.0
LOOK_AGAIN_S = 1.0
LONGEST_SLEEP_S = 3600.0
MAX_TASKS = 200_000
MAX_ID = 1000

_PHASES = {
    "RECEIVING": Phase.ARMED,
    "STARTING": Phase.ARMED,
    "RUNNING": Phase.RUNNING,
    "STOPPING": Phase.RUNNING,
    "DONE": Phase.DONE,
}


class Tasks:
    """Every task of a coordinator, and what its agents say of them."""

    def __init__(self, topology: Topology, store: Store, events: Events, clock: Clock, identity: Identity) -> None:
        self.topology = topology
        self.store = store
        self.events = events
        self.clock = clock
        self.identity = identity
        self.agents = {name: Agent(topology.nodes[name], self, clock, identity.name) for name in topology.agents()}
        self.by_id: dict[str, Task] = {}
        self.live: dict[int, Worker] = {}
        """Workers that are not done, by id."""
        self._by_node: dict[str, dict[int, Worker]] = {name: {} for name in self.agents}
        self._stored: dict[int, asyncio.Future[None]] = {}
        self._alarms: dict[int, asyncio.TimerHandle] = {}
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._armings: deque[tuple[int, int]] = deque(maxlen=1000)
        self._sorted: list[Task] | None = None
        self._by_seq: dict[int, Task] = {}
        """Composites, by the number their children name them by."""
        self.composites = Composites(self)

    # From outside.

    async def create(self, task_id: str, spec: Spec, lease: str = "") -> None:
        """Makes a task; on disk when this returns. The same again is no error. Raises RequestRefused."""
        if not task_id:
            raise BadRequest("Invalid empty ID in createTask request.")
        if len(task_id) > MAX_ID:
            raise BadRequest(f"id: longer than {MAX_ID} characters")
        original = dump(spec.to_json())
        task = self.by_id.get(task_id)
        if task is None:
            task = self._admit(task_id, spec, original, lease)
        elif task.original != original:
            raise Conflict(f"Task ID {task_id} already exists, and has a different spec {task.original}")
        await self._until_stored(task)

    def _admit(self, task_id: str, spec: Spec, original: str, lease: str) -> Task:
        if self.identity.frozen and is_fault(spec):
            raise Conflict("frozen: new faults are refused until `trogdor thaw`")
        if len(self.by_id) >= MAX_TASKS:
            raise Unavailable(f"there are {MAX_TASKS} tasks: destroy those that are done")
        error, names = "", []
        try:
            names = admission.nodes_for(spec, self.topology, self.agents)
        except admission.CannotRun as reason:
            error = str(reason)
        task = self._make(task_id, spec, original, lease)
        self.by_id[task_id] = task
        self._sorted = None
        if error:
            task.state, task.error, task.done_ms = State.DONE, error, self.clock.wall_ms()
        elif is_composite(spec):
            self._make_composite(task)
        else:
            for name in names:
                self._add_worker(task, name)
        self._stored[task.seq] = self._save(task, [*task.workers.values()])
        self.events.emit("task", taskId=task.id, state=task.state, error=error or None)
        return task

    def _make(self, task_id: str, spec: Spec, original: str, lease: str) -> Task:
        now_wall_ns, now_ns = self.clock.wall_ns(), self.clock.boot_ns()
        margin_ns = self.margin_ns() + (EXPANDING_NS if is_composite(spec) else 0)
        earliest_ms = -(-(now_wall_ns + margin_ns) // NS_PER_MS)
        start_ms = max(spec.start_ms, earliest_ms)
        effective = original.replace(f'"startMs":{spec.start_ms},', f'"startMs":{start_ms},', 1)
        start_ns = now_ns + start_ms * NS_PER_MS - now_wall_ns
        return Task(
            seq=self.identity.next_task(),
            id=task_id,
            original=original,
            effective=effective,
            start_boot_ns=start_ns,
            end_boot_ns=start_ns + spec.duration_ms * NS_PER_MS,
            lease=lease,
            _spec=spec.at(start_ms),
        )

    def _make_composite(self, task: Task) -> None:
        task.children = []
        self._by_seq[task.seq] = task

    def create_child(self, parent: Task, number: int, spec: Spec) -> None:
        """Makes a composite's task, and sees to it once it is on disk."""
        task = self._make(f"{parent.id}/{number}", spec, dump(spec.to_json()), "")
        task.parent = parent.seq
        assert parent.children is not None
        parent.children.append(task)
        parent.touch()
        try:
            for name in admission.nodes_for(spec, self.topology, self.agents):
                self._add_worker(task, name)
        except (admission.CannotRun, BadRequest) as error:
            task.state, task.error, task.done_ms = State.DONE, str(error), self.clock.wall_ms()
            parent.error = parent.error or task.error
        self._save(task, [*task.workers.values()])
        self.events.emit("task", taskId=task.id, state=task.state, error=task.error or None)
        self.store.flush_then(lambda: self.launch(task))

    def _add_worker(self, task: Task, node: str) -> None:
        worker = Worker(self.identity.next_worker(), task, node)
        if self._is_near(task) and self._can_be_told(worker):
            worker.phase = Phase.SHIPPED
        task.workers[node] = worker
        self._register(worker)

    async def _until_stored(self, task: Task) -> None:
        stored = self._stored.get(task.seq)
        if stored is None:
            return
        try:
            await asyncio.shield(stored)
        except StoreError as error:
            self._discard(task)
            raise Unavailable(str(error)) from None
        if self._stored.pop(task.seq, None) is not None:
            self.launch(task)

    def _discard(self, task: Task) -> None:
        if self._stored.pop(task.seq, None) is not None:
            self.by_id.pop(task.id, None)
            self._sorted = None
            for worker in task.workers.values():
                self._unregister(worker)

    async def stop(self, task_id: str) -> None:
        """Stops a task. One that had not fired is DONE when this returns, if its agents answer within a second."""
        if not task_id:
            raise BadRequest("Invalid empty ID in stopTask request.")
        if (task := self.by_id.get(task_id)) is not None:
            was_armed = task.state is State.PENDING
            self.cancel(task)
            await self.store.flush()
            if was_armed:
                await self.until_final([task], ACKNOWLEDGED_S)

    async def destroy(self, task_id: str) -> None:
        """Stops a task and forgets it; the store keeps it until every agent has acknowledged."""
        if not task_id:
            raise BadRequest("Invalid empty ID in destroyTask request.")
        task = self.by_id.pop(task_id, None)
        if task is None:
            return
        self._sorted = None
        task.destroyed = True
        self.events.emit("task-destroyed", taskId=task.id)
        was_armed = task.state is State.PENDING
        self.cancel(task)
        if task.is_final:
            self._erase(task)
        else:
            self._save(task)
        await self.store.flush()
        if was_armed:
            await self.until_final([task], ACKNOWLEDGED_S)

    async def heal(self, deadline_s: float) -> dict[str, Any]:
        """Stops every task; answers when all are final, or which nodes have not acknowledged in time."""
        tasks = [task for task in self.by_id.values() if not task.is_final]
        return await self.end(tasks, deadline_s)

    async def end(self, tasks: list[Task], deadline_s: float) -> dict[str, Any]:
        """Stops some tasks; answers when they are final, or which nodes have not acknowledged in time."""
        for task in tasks:
            self.cancel(task)
        await self.store.flush()
        await self.until_final(tasks, deadline_s)
        remaining = {task.id: [worker.node for worker in task.active] for task in tasks if not task.is_final}
        return {"stopped": [task.id for task in tasks], "remaining": remaining}

    async def until_final(self, tasks: Iterable[Task], deadline_s: float) -> None:
        """Returns when these tasks are DONE, or after ``deadline_s``."""
        waits = []
        for task in tasks:
            if not task.is_final:
                waits.append(self._waiting.setdefault(task.seq, asyncio.get_running_loop().create_future()))
        if waits:
            await asyncio.wait(waits, timeout=deadline_s)

    def sorted(self) -> list[Task]:
        """Every task that is shown, by id."""
        if self._sorted is None:
            self._sorted = [self.by_id[task_id] for task_id in sorted(self.by_id)]
        return self._sorted

    @property
    def ship_ahead_ns(self) -> int:
        """How long before its instant a worker is shipped."""
        return SHIP_AHEAD_NS

    def margin_ns(self) -> int:
        """How far ahead "now" is, so that all of a task's nodes start at one instant.

        Twice the slowest arming of the last minute; of the last ones where there were fewer, the most before the first.
        """
        since_ns = self.clock.boot_ns() - MARGIN_MEMORY_NS
        while len(self._armings) > LEAST_ARMINGS and self._armings[0][0] < since_ns:
            self._armings.popleft()
        slowest_ns = max((took_ns for _, took_ns in self._armings), default=MOST_MARGIN_NS)
        return min(max(LEAST_MARGIN_NS, 2 * slowest_ns), MOST_MARGIN_NS)

    def close(self) -> None:
        """Looks at nothing any more."""
        self.composites.close()
        for alarm in self._alarms.values():
            alarm.cancel()
        self._alarms.clear()

    # A task's way.

    def launch(self, task: Task) -> None:
        """Sees to a task whose record is on disk: ships it now or when its instant is near."""
        if task.children is not None:
            if not task.is_final:
                self.composites.begin(task)
            return
        if task.state is State.STOPPING or not task.active:
            self.advance(task)
        elif self._is_near(task):
            self._ship(task)
        self._set_alarm(task)

    def _is_near(self, task: Task) -> bool:
        return task.start_boot_ns - self.clock.boot_ns() <= SHIP_AHEAD_NS

    def _ship(self, task: Task) -> None:
        told = [worker for worker in task.active if worker.phase is Phase.NEW and self._can_be_told(worker)]
        for worker in told:
            worker.phase = Phase.SHIPPED
            self._save_worker(worker)
        if told:  # that it may have been told must be on disk before it is
            self.store.flush_then(lambda: self._tell(task))
        else:
            self._tell(task)

    def _tell(self, task: Task) -> None:
        if task.state is State.STOPPING:
            return
        for worker in task.active:
            if worker.phase in (Phase.NEW, Phase.SHIPPED):
                self.agents[worker.node].ship(worker)

    def _can_be_told(self, worker: Worker) -> bool:
        """Whether its agent is there, and one that is told ahead of the instant."""
        agent = self.agents[worker.node]
        return agent.up and agent.kind == "own"

    def _set_alarm(self, task: Task) -> None:
        if (alarm := self._alarms.pop(task.seq, None)) is not None:
            alarm.cancel()
        if task.is_final:
            return
        wait_ns = self._next_look_ns(task) - self.clock.boot_ns()
        wait_s = min(max(wait_ns / NS_PER_S, 0), LONGEST_SLEEP_S)
        self._alarms[task.seq] = asyncio.get_running_loop().call_later(wait_s, self._look, task)

    def _next_look_ns(self, task: Task) -> int:
        now_ns = self.clock.boot_ns()
        if task.state is State.PENDING:
            near_ns = task.start_boot_ns - SHIP_AHEAD_NS
            return near_ns if near_ns > now_ns else task.start_boot_ns
        if task.state is State.STOPPING:
            return now_ns + int(LOOK_AGAIN_S * NS_PER_S)
        return max(task.end_boot_ns + OVERDUE_NS, now_ns + int(LOOK_AGAIN_S * NS_PER_S))

    def _look(self, task: Task) -> None:
        now_ns = self.clock.boot_ns()
        if task.state is State.PENDING:
            if task.start_boot_ns <= now_ns:
                self.begin(task)
            if self._is_near(task) and any(worker.phase is Phase.NEW for worker in task.active):
                self._ship(task)
        else:
            for worker in task.active:
                if (error := self._given_up(worker, now_ns)) is not None:
                    self._worker_done(worker, error)
            self.advance(task)
        self._set_alarm(task)

    def _given_up(self, worker: Worker, now_ns: int) -> str | None:
        """The error of a worker that is not waited for any longer; None: wait."""
        agent, task = self.agents[worker.node], worker.task
        has_fired = worker.phase is Phase.RUNNING
        lease_end_ns = max(agent.lease_sent_ns, worker.shipped_boot_ns) + LEASE_NS
        if not agent.up and not has_fired and task.state is State.STOPPING and task.start_boot_ns > lease_end_ns:
            return "" if now_ns > lease_end_ns else None
        if now_ns < task.end_boot_ns + OVERDUE_NS:
            return None
        if agent.up:
            return None if has_fired else "worker expired"
        since = self.show_time(agent.heard_ns) if agent.heard_ns else "the coordinator started"
        unseen = f"node {worker.node} not seen since {since}"
        if worker.phase is Phase.NEW:
            return unseen
        return f"{unseen}; its fault may last until {self.show_time(task.end_boot_ns)}"

    def begin(self, task: Task, at_ms: int | None = None) -> None:
        """The instant has come; a composite begins with its first child, at ``at_ms``."""
        if task.state is State.PENDING:
            task.state = State.RUNNING
            task.started_ms = task.spec.start_ms if at_ms is None else at_ms
            self._changed(task)
            if task.parent is not None and task.parent in self._by_seq:
                self.begin(self._by_seq[task.parent], task.started_ms)

    def cancel(self, task: Task) -> None:
        """Stops a task unless it is stopping already."""
        if task.state in (State.PENDING, State.RUNNING):
            task.cancelled = True
            self._begin_stopping(task)

    def _begin_stopping(self, task: Task) -> None:
        task.state = State.STOPPING
        self._changed(task)
        if task.children is not None:
            self.composites.end(task)
            for child in task.children:
                self.cancel(child)
        for worker in task.active:
            if worker.phase is Phase.NEW:
                self._worker_done(worker, "")
            else:
                self.agents[worker.node].stop(worker)
        self.advance(task)
        self._set_alarm(task)

    def advance(self, task: Task) -> None:
        """Folds the workers into the task: done when all are, stopped when one has failed."""
        if task.is_final:
            return
        if task.children is not None and not self.composites.is_over(task):
            return
        if not task.active:
            task.state, task.done_ms = State.DONE, self.clock.wall_ms()
            if task.destroyed:
                self._erase(task)
            self._changed(task)
            self._set_alarm(task)
            if (waiting := self._waiting.pop(task.seq, None)) is not None:
                waiting.set_result(None)
            self._tell_parent(task)
        elif task.error and task.state is not State.STOPPING:
            log.warning("task %s failed and is stopped: %s", task.id, task.error)
            self._begin_stopping(task)

    def _tell_parent(self, task: Task) -> None:
        if task.children is not None:
            self.composites.forget(task)
        parent = self._by_seq.get(task.parent) if task.parent is not None else None
        if parent is not None:
            parent.error = parent.error or task.error
            parent.touch()
            self.advance(parent)

    # What the agents say.

    def workers_on(self, node: str) -> list[Worker]:
        """The workers of a node that are not done."""
        return list(self._by_node[node].values())

    def worker_changed(self, agent: Agent, worker_id: int, shown: dict[str, Any]) -> None:
        """An agent shows a worker (as upstream's WorkerState)."""
        worker = self.live.get(worker_id)
        if worker is None:
            self._stranger(agent, worker_id, shown)
            return
        phase = _PHASES[shown["state"]]
        if "status" in shown:
            worker.status = shown["status"]
        worker.started_ms = shown.get("startedMs", worker.started_ms)
        self._touch(worker.task)
        if phase is Phase.DONE:
            self._worker_done(worker, shown.get("error", ""), shown.get("doneMs", -1))
        else:
            self._worker_advanced(worker, phase)
        self.advance(worker.task)

    def _worker_advanced(self, worker: Worker, phase: Phase) -> None:
        moved = phase is not worker.phase and not (phase is Phase.ARMED and worker.phase is Phase.RUNNING)
        if moved:
            worker.phase = phase
            self._save_worker(worker)
        if worker.phase is Phase.RUNNING:
            self.begin(worker.task)
        status = worker.status
        verdict = status.get("verdict", "") if isinstance(status, dict) else ""
        if moved or verdict:
            self._emit_worker(worker)
        if isinstance(verdict, str) and verdict.startswith("not seen"):
            self._fail(worker.task, f"{worker.node}: {verdict}")

    def _stranger(self, agent: Agent, worker_id: int, shown: dict[str, Any]) -> None:
        if self.identity.issued(worker_id):
            agent.forget(worker_id)
        elif worker_id not in agent.strangers:
            agent.strangers[worker_id] = shown

    def worker_armed(self, worker: Worker, state: str) -> None:
        """An agent has taken a worker; its claims are on its disk."""
        if worker.phase is Phase.SHIPPED and state != "DONE":  # of its end the agent tells with all there is to say
            self._worker_advanced(worker, _PHASES.get(state, Phase.ARMED))
        if worker.task.state is State.STOPPING and worker.phase is not Phase.DONE:
            self.agents[worker.node].stop(worker)

    def withdrawing(self, worker: Worker) -> None:
        """What its agent says of a worker from now on is not the end of its task."""
        self._unregister(worker)

    def withdrawn(self, worker: Worker) -> None:
        """An agent knows nothing of a worker any more, and it has not fired."""
        worker.phase, worker.shipped_boot_ns = Phase.NEW, 0
        self._save_worker(worker)

    def worker_failed(self, worker: Worker, error: str) -> None:
        """A worker cannot be carried out; ``error`` is the task's."""
        if worker.phase is not Phase.DONE:
            self._worker_done(worker, error)
            self.advance(worker.task)

    def worker_missing(self, agent: Agent, worker: Worker) -> None:
        """An agent that answers does not have this worker."""
        if worker.phase is Phase.NEW:
            if self._is_near(worker.task) and worker.task.seq not in self._stored:
                self._ship(worker.task)
            return
        task, now_ns = worker.task, self.clock.boot_ns()
        was_told_before = worker.shipped_boot_ns != 0 and worker.shipped_boot_ns < agent.process_start_ns
        may_have_fired = worker.phase is Phase.RUNNING or (
            was_told_before and task.start_boot_ns <= agent.process_start_ns
        )
        is_journalled = is_fault(task.spec) and worker.phase is not Phase.RUNNING  # its agent will know
        if may_have_fired and not (is_journalled and now_ns < task.end_boot_ns):
            ended = self.show_time(max(agent.process_start_ns, task.start_boot_ns))
            self.worker_failed(worker, f"agent restarted; fault ended at {ended}")
        elif task.state is State.STOPPING:
            self.worker_failed(worker, "")
        elif now_ns < task.end_boot_ns:
            agent.ship(worker)
        else:
            self.worker_failed(worker, "worker expired")

    def _worker_done(self, worker: Worker, error: str, done_ms: int = -1) -> None:
        was, worker.phase = worker.phase, Phase.DONE
        worker.error = error
        worker.done_ms = done_ms if done_ms >= 0 else self.clock.wall_ms()
        if error and not worker.task.error:
            worker.task.error = error
        worker.task.touch()
        self._unregister(worker)
        self._save_worker(worker)
        self._emit_worker(worker)
        if was is not Phase.NEW:
            self.agents[worker.node].forget(worker.id)

    def _fail(self, task: Task, error: str) -> None:
        if not task.error and task.state in (State.PENDING, State.RUNNING):
            task.error = error
            self._changed(task)

    async def shipping(self, worker: Worker) -> None:
        """Returns once it is on disk that an agent may have been told of a worker."""
        worker.phase = Phase.SHIPPED
        worker.shipped_boot_ns = self.clock.boot_ns()
        self._save_worker(worker)
        await self.store.flush()

    def armed_within(self, took_ns: int) -> None:
        """How long an arming took, from its sending to its answer."""
        self._armings.append((self.clock.boot_ns(), took_ns))

    def node_changed(self, agent: Agent, kind: str, reason: str = "") -> None:
        """An agent was met or lost."""
        self.events.emit(kind, node=agent.node.name, agent=agent.kind, reason=reason or None)

    def peers_of(self, worker: Worker) -> dict[str, Any]:
        """Where the probes of the other nodes answer."""
        peers = {}
        for name, agent in self.agents.items():
            if name != worker.node and agent.addresses:
                port = (agent.features.get("probePorts") or {}).get(name, 0)
                peers[name] = {"addresses": agent.addresses, "probePort": port}
        return peers

    def _take_up(self, task: Task) -> bool:
        if task.destroyed and task.is_final:
            self._erase(task)
            return False
        if task.parent is not None:
            parent = self._by_seq.get(task.parent)
            if parent is not None and parent.children is not None:
                parent.children.append(task)
        elif not task.destroyed:
            self.by_id[task.id] = task
            self._sorted = None
        if not task.workers and is_composite(task.spec):
            self._make_composite(task)
        for worker in task.active:
            self._register(worker)
        return not task.is_final

    def take_up_all(self, tasks: Iterable[Task]) -> None:
        """Every task of the store, parents before their children, and then sees to those that are not done."""
        unfinished = [task for task in tasks if self._take_up(task)]
        for task in unfinished:
            self.launch(task)

    # Records.

    def _register(self, worker: Worker) -> None:
        self.live[worker.id] = worker
        self._by_node[worker.node][worker.id] = worker

    def _unregister(self, worker: Worker) -> None:
        self.live.pop(worker.id, None)
        self._by_node[worker.node].pop(worker.id, None)

    def _changed(self, task: Task) -> None:
        self._touch(task)
        if not (task.destroyed and task.is_final):
            self._save(task)
        self.events.emit("task", taskId=task.id, state=task.state, error=task.error or None)

    def _touch(self, task: Task) -> None:
        task.touch()
        if task.parent is not None and task.parent in self._by_seq:
            self._by_seq[task.parent].touch()

    def _save(self, task: Task, workers: Iterable[Worker] = ()) -> "asyncio.Future[None]":
        for worker in workers:
            self._save_worker(worker)
        return self.store.put(TASKS, task.seq, task.to_row())

    def _save_worker(self, worker: Worker) -> None:
        self.store.put(WORKERS, worker.id, worker.to_row())

    def _erase(self, task: Task) -> None:
        self.store.delete(TASKS, task.seq)
        for worker in task.workers.values():
            self.store.delete(WORKERS, worker.id)
        for child in task.children or []:
            self._erase(child)
        self._by_seq.pop(task.seq, None)

    def _emit_worker(self, worker: Worker) -> None:
        status = worker.status if isinstance(worker.status, dict) else None
        self.events.emit(
            "worker",
            source=worker.node,
            taskId=worker.task.id,
            node=worker.node,
            state=worker.phase,
            error=worker.error or None,
            status=status,
        )

    def show_time(self, boot_ns: int) -> str:
        """An instant of our CLOCK_BOOTTIME as people read it."""
        from datetime import UTC, datetime

        wall_ms = (self.clock.wall_ns() + boot_ns - self.clock.boot_ns()) // NS_PER_MS
        return datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def is_fault(spec: Spec) -> bool:
    """Whether a spec disturbs anything: all but workloads and NoOp."""
    return ".workload." not in spec.class_name and ".task." not in spec.class_name
