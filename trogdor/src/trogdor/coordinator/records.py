"""Tasks and workers in memory and in the store: what ``Tasks`` remembers.

``Tasks`` is one object, since all of it is one state that one event loop touches, in four layers: records, progress (a
task's way), reports (what its agents say), tasks (what is asked for).
"""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from trogdor.coordinator.events import Events
from trogdor.coordinator.identity import Identity
from trogdor.coordinator.state import Phase, Task, Worker, dump, is_fault
from trogdor.coordinator.store import FOUND, TASKS, WORKERS, Store
from trogdor.instant import NS_PER_MS, Clock
from trogdor.metrics import FaultFigures
from trogdor.topology import Topology

if TYPE_CHECKING:
    from trogdor.coordinator.nodes import Agent


class Records:
    """Every task of a coordinator, every worker that is not done, and their rows in the store."""

    def __init__(self, topology: Topology, store: Store, events: Events, clock: Clock, identity: Identity) -> None:
        self.topology = topology
        self.store = store
        self.events = events
        self.clock = clock
        self.identity = identity
        self.figures = FaultFigures()
        self.agents: dict[str, Agent] = {}
        self.by_id: dict[str, Task] = {}
        """Those that upstream's routes show."""
        self.live: dict[int, Worker] = {}
        """Workers that are not done, by id."""
        self._by_node: dict[str, dict[int, Worker]] = {name: {} for name in topology.agents()}
        self._by_seq: dict[int, Task] = {}
        """Composites, by the number their children name them by."""
        self._sorted: list[Task] | None = None

    def sorted(self) -> list[Task]:
        """Every task that is shown, by id."""
        if self._sorted is None:
            self._sorted = [self.by_id[task_id] for task_id in sorted(self.by_id)]
        return self._sorted

    def workers_on(self, node: str) -> list[Worker]:
        """The workers of a node that are not done."""
        return list(self._by_node[node].values())

    def peers_of(self, worker: Worker) -> dict[str, Any]:
        """Where the probes of those nodes answer by whose agents a worker's fault is seen."""
        spec, peers = worker.task.spec, {}
        for name in sorted(spec.seen_from(self.topology)) if is_fault(spec) else ():
            agent = self.agents.get(name)
            if agent is not None and name != worker.node and agent.addresses:
                port = (agent.features.get("probePorts") or {}).get(name, 0)
                peers[name] = {"addresses": agent.addresses, "probePort": port}
        return peers

    def show_time(self, boot_ns: int) -> str:
        """An instant of our CLOCK_BOOTTIME as people read it."""
        wall_ms = (self.clock.wall_ns() + boot_ns - self.clock.boot_ns()) // NS_PER_MS
        return datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def node_changed(self, agent: "Agent", kind: str, reason: str = "") -> None:
        """An agent was met or lost."""
        self.events.emit(kind, node=agent.node.name, agent=agent.kind, reason=reason or None)

    def _register(self, worker: Worker) -> None:
        self.live[worker.id] = worker
        self._by_node[worker.node][worker.id] = worker

    def _unregister(self, worker: Worker) -> None:
        self.live.pop(worker.id, None)
        self._by_node[worker.node].pop(worker.id, None)

    def has_found(self, task: Task, found: list[dict[str, Any]]) -> None:
        """Whom a composite's questions named is kept in the store and told."""
        task.found = found
        self._touch(task)
        self.store.put(FOUND, (task.seq, dump(found)))
        names = list(dict.fromkeys(name for each in found for name in each["nodes"]))
        self.events.emit("resolved", taskId=task.id, nodes=names, found=found)

    def _touch(self, task: Task) -> None:
        """What is shown of a task, and of the composites it is a part of, is made anew."""
        part: Task | None = task
        while part is not None:
            part.touch()
            part = None if part.parent is None else self._by_seq.get(part.parent)

    def _changed(self, task: Task) -> None:
        self._touch(task)
        if not (task.destroyed and task.is_final):
            self._save(task)
        self.events.emit("task", taskId=task.id, state=task.state, error=task.error or None)

    def _save(self, task: Task) -> "asyncio.Future[None]":
        return self.store.put(TASKS, task.to_row())

    def _save_new(self, task: Task) -> "asyncio.Future[None]":
        """A task just made, and those of its workers that an agent may be told of: the task's row names the others."""
        for worker in task.workers.values():
            if worker.phase is not Phase.NEW:
                self._save_worker(worker)
        return self._save(task)

    def _save_worker(self, worker: Worker) -> None:
        self.store.put(WORKERS, worker.to_row())

    def _erase(self, task: Task) -> None:
        self.store.delete(TASKS, task.seq)
        if task.found is not None:
            self.store.delete(FOUND, task.seq)
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
            startedMs=worker.started_ms if worker.started_ms >= 0 else None,
            doneMs=worker.done_ms if worker.done_ms >= 0 else None,
            error=worker.error or None,
            status=status,
        )
