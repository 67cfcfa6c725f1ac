"""Tasks: what is asked of the coordinator. All on one event loop; on disk before it is said."""

import asyncio
import logging
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trogdor.coordinator import admission
from trogdor.coordinator.events import Events
from trogdor.coordinator.identity import Identity
from trogdor.coordinator.nodes import Agent
from trogdor.coordinator.reports import MOST_MARGIN_NS, Reports
from trogdor.coordinator.state import Phase, State, Task, Worker, dump, is_fault
from trogdor.coordinator.store import TASKS, WORKERS, Row, RowsRefused, Store, StoreError
from trogdor.instant import NS_PER_MS, Clock
from trogdor.spec import Spec
from trogdor.topology import Node, Topology
from trogdor.wire.errors import BadRequest, Conflict, Unavailable

if TYPE_CHECKING:
    from trogdor.coordinator.composites import Composites

log = logging.getLogger(__name__)

EXPANDING_NS = 50 * NS_PER_MS
"""How much further ahead a composite for now starts, so that its children are on disk and shipped by then."""
ACKNOWLEDGED_S = 1.0
MAX_TASKS = 200_000
MAX_ID = 1000


class Tasks(Reports):
    """Every task of a coordinator."""

    def __init__(
        self, topology: Topology, store: Store, events: Events, clock: Clock, identity: Identity, *, node: Node
    ) -> None:
        """``node``: where this coordinator runs."""
        super().__init__(topology, store, events, clock, identity)
        self.node = node
        self.agents = {
            name: Agent(topology.nodes[name], self, clock, identity.name, topology.agent_hostname(name))
            for name in topology.agents()
        }
        self.cluster = admission.Cluster(topology, self.agents, node)

    @cached_property
    def composites(self) -> "Composites":
        """Those that are under way. Made with the first: what expands them is not imported for nothing."""
        from trogdor.coordinator.composites import Composites

        return Composites(self)

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
        if self.store.is_full():
            raise Unavailable(f"no task is taken while {self.store.waiting} changes wait: {self.store.problem}")
        if len(self.by_id) >= MAX_TASKS:
            raise Unavailable(f"there are {MAX_TASKS} tasks: destroy those that are done")
        error, names = "", []
        try:
            names = admission.nodes_for(spec, self.cluster)
        except admission.CannotRun as reason:
            error = str(reason)
        if spec.is_composite and (refusal := self.composites.refusal(spec)):
            raise BadRequest(refusal)
        task = self._make(task_id, spec, original, lease)
        self.by_id[task_id] = task
        self._sorted = None
        if error:
            task.state, task.error, task.done_ms = State.DONE, error, self.clock.wall_ms()
        else:
            self._divide(task, names)
        self._stored[task.seq] = self._save_new(task)
        self.events.emit("task", taskId=task.id, state=task.state, error=error or None)
        return task

    def _make(self, task_id: str, spec: Spec, original: str, lease: str) -> Task:
        now_wall_ns, now_ns = self.clock.wall_ns(), self.clock.boot_ns()
        start_ms, effective = spec.start_ms, original
        if start_ms * NS_PER_MS < now_wall_ns + MOST_MARGIN_NS + EXPANDING_NS:  # for now, or as good as
            margin_ns = self.margin_ns() + (EXPANDING_NS if spec.is_composite else 0)
            start_ms = max(start_ms, -(-(now_wall_ns + margin_ns) // NS_PER_MS))
        if start_ms != spec.start_ms:
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
            _spec=spec if start_ms == spec.start_ms else spec.at(start_ms),
        )

    def _divide(self, task: Task, names: Iterable[str]) -> None:
        """A composite gets children, later; all else a worker on each node now."""
        if task.spec.is_composite:
            self._make_composite(task)
            return
        is_near = self._is_near(task)
        for name in names:
            worker = task.workers[name] = Worker(self.identity.next_worker(), task, name)
            if is_near and self._can_be_told(worker):
                worker.phase = Phase.SHIPPED
            self._register(worker)

    def _make_composite(self, task: Task) -> None:
        task.children = []
        self._by_seq[task.seq] = task

    def create_child(self, parent: Task, number: int, spec: Spec) -> None:
        """Makes a composite's task, and sees to it once it is on disk."""
        task = self._make(f"{parent.id}/{number}", spec, dump(spec.to_json()), "")
        task.parent = parent.seq
        assert parent.children is not None
        parent.children.append(task)
        self._touch(parent)
        try:
            self._divide(task, admission.nodes_for(spec, self.cluster))
        except Exception as error:  # whatever a stranger's spec raises, once its nodes are known
            task.state, task.error, task.done_ms = State.DONE, str(error), self.clock.wall_ms()
            parent.error = parent.error or task.error
        self._save_new(task)
        self.events.emit("task", taskId=task.id, state=task.state, error=task.error or None)
        self.store.flush_then(lambda: self.launch(task))

    async def _until_stored(self, task: Task) -> None:
        stored = self._stored.get(task.seq)
        if stored is None:
            return
        try:
            await stored
        except StoreError as error:
            if not isinstance(error, RowsRefused) or error.rows & _rows_of(task):
                self._discard(task)
                raise
        if self._stored.pop(task.seq, None) is not None:
            self.launch(task)

    def _discard(self, task: Task) -> None:
        if self._stored.pop(task.seq, None) is not None:
            self.by_id.pop(task.id, None)
            self._sorted = None
            for worker in task.workers.values():
                self._unregister(worker)
            self._erase(task)

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
        answer = await self.end(tasks, deadline_s)
        await self.store.flush()
        return answer

    async def end(self, tasks: list[Task], deadline_s: float) -> dict[str, Any]:
        """Stops some tasks; answers when they are final, or which nodes have not acknowledged in time."""
        for task in tasks:
            self.cancel(task)
        await self.until_final(tasks, deadline_s)
        unfinished = [task for task in tasks if not task.is_final]
        remaining = {task.id: sorted({worker.node for worker in task.all_active()}) for task in unfinished}
        return {"stopped": [task.id for task in tasks], "remaining": remaining}

    async def until_final(self, tasks: Iterable[Task], deadline_s: float) -> None:
        """Returns when these tasks are DONE, or after ``deadline_s``."""
        waits = []
        for task in tasks:
            if not task.is_final:
                waits.append(self._waiting.setdefault(task.seq, asyncio.get_running_loop().create_future()))
        if waits:
            await asyncio.wait(waits, timeout=deadline_s)

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
        if not task.workers and self._may_be_composite(task):
            self._make_composite(task)
        for worker in task.active:
            self._register(worker)
        return not task.is_final

    def _may_be_composite(self, task: Task) -> bool:
        try:
            return task.spec.is_composite
        except Exception:  # its children, if it has any, are to find it; what is wrong is said when it is launched
            return True

    def take_up_all(self, tasks: Iterable[Task]) -> None:
        """Every task of the store, parents before their children, and then sees to those that are not done.

        One that cannot be carried on, such as one of a class that is not known any more, is ended with an error.
        """
        unfinished = [task for task in tasks if self._take_up(task)]
        for task in unfinished:
            try:
                if not task.is_final and task.spec:
                    self.launch(task)
            except Exception as error:
                log.exception("task %s cannot be taken up", task.id)
                self._give_up(task, f"cannot be taken up after a restart: {error}")

    def _give_up(self, task: Task, error: str) -> None:
        task.error = task.error or error
        for worker in task.active:  # its agent, once met, is let forget what nobody here knows, and so ends it
            self._worker_done(worker, task.error)
        self._begin_stopping(task)


def _rows_of(task: Task) -> set[Row]:
    return {(TASKS, task.seq), *((WORKERS, worker.id) for worker in task.workers.values())}
