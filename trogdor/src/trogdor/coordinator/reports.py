"""What agents say of their workers, and what becomes of the tasks by it."""

import asyncio
import math
from collections import deque
from typing import Any

from trogdor.coordinator.nodes import Agent
from trogdor.coordinator.progress import EXPIRED, Progress
from trogdor.coordinator.state import Phase, State, Task, Worker, is_fault
from trogdor.instant import NS_PER_MS, NS_PER_S
from trogdor.timeline.samples import Track, sample_of

LEAST_ARMINGS = 16
LEAST_MARGIN_NS, MOST_MARGIN_NS = 20 * NS_PER_MS, 200 * NS_PER_MS
"""How far ahead the common instant of a task for now lies, at least and at most."""
MARGIN_MEMORY_NS = 60 * NS_PER_S

_PHASES = {
    "RECEIVING": Phase.ARMED,
    "STARTING": Phase.ARMED,
    "RUNNING": Phase.RUNNING,
    "STOPPING": Phase.RUNNING,
    "DONE": Phase.DONE,
}


class Reports(Progress):
    """The third layer of ``Tasks``."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._stored: dict[int, asyncio.Future[None]] = {}
        """Of tasks whose creation is not on disk yet."""
        self._armings: deque[tuple[int, int]] = deque(maxlen=1000)

    def worker_changed(self, agent: Agent, worker_id: int, shown: dict[str, Any]) -> None:
        """An agent shows a worker (as upstream's WorkerState)."""
        worker = self.live.get(worker_id)
        if worker is None:
            self._stranger(agent, worker_id, shown)
            return
        phase = _PHASES[shown["state"]]
        has_started = agent.kind != "java" and shown.get("startedMs", -1) >= 0  # Java's has when it expires, too
        never_started = shown.get("error") == EXPIRED and not has_started
        if phase is Phase.DONE and never_started and self._starts_late(worker):
            return
        if "status" in shown:
            worker.status = shown["status"]
        worker.started_ms = shown.get("startedMs", worker.started_ms)
        self._touch(worker.task)
        if phase is Phase.DONE:
            self._worker_done(worker, shown.get("error", ""), shown.get("doneMs", -1))
        else:
            self._worker_advanced(worker, phase)
        self._sample(worker)
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

    def _sample(self, worker: Worker) -> None:
        """Keeps how far a workload has come, and tells it; its end is told with all of its status."""
        sample = sample_of(worker.status, self.clock.wall_ms())
        if sample is None:
            return
        worker.track = worker.track or Track()
        is_over = worker.phase is Phase.DONE
        if worker.track.is_due(self.clock.boot_ns() / NS_PER_MS) or is_over:
            worker.track.add(sample)
            if not is_over:
                self.events.emit(
                    "sample",
                    source=worker.node,
                    taskId=worker.task.id,
                    node=worker.node,
                    count=sample.total,
                    averageLatencyMs=None if math.isnan(sample.mean_ms) else sample.mean_ms,
                )

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
        elif not self._starts_late(worker):
            self.worker_failed(worker, EXPIRED)

    def worker_failed(self, worker: Worker, error: str) -> None:
        """A worker cannot be carried out; ``error`` is the task's."""
        if worker.phase is not Phase.DONE:
            self._worker_done(worker, error)
            self.advance(worker.task)

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

    def withdrawing(self, worker: Worker) -> None:
        """What its agent says of a worker from now on is not the end of its task."""
        self._unregister(worker)

    def withdrawn(self, worker: Worker) -> None:
        """An agent knows nothing of a worker any more, and it has not fired."""
        worker.phase, worker.shipped_boot_ns = Phase.NEW, 0
        self._save_worker(worker)

    def armed_within(self, took_ns: int) -> None:
        """How long an arming took, from its sending to its answer."""
        self._armings.append((self.clock.boot_ns(), took_ns))

    def margin_ns(self) -> int:
        """How far ahead "now" is, so that all of a task's nodes start at one instant.

        Twice the slowest arming of the last minute; of the last ones where there were fewer, the most before the first.
        """
        since_ns = self.clock.boot_ns() - MARGIN_MEMORY_NS
        while len(self._armings) > LEAST_ARMINGS and self._armings[0][0] < since_ns:
            self._armings.popleft()
        slowest_ns = max((took_ns for _, took_ns in self._armings), default=MOST_MARGIN_NS)
        return min(max(LEAST_MARGIN_NS, 2 * slowest_ns), MOST_MARGIN_NS)
