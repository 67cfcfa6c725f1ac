"""A task's way: shipped ahead of its instant, begun, stopped, over; looked at again until it is final."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from trogdor.coordinator.nodes import LEASE_NS
from trogdor.coordinator.records import Records
from trogdor.coordinator.state import Phase, State, Task, Worker
from trogdor.instant import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from trogdor.coordinator.composites import Composites

log = logging.getLogger(__name__)

SHIP_AHEAD_NS = 60 * NS_PER_S
"""How long before its instant a worker is shipped: agents hold what is near, whatever waits in the store."""
OVERDUE_NS = 5 * NS_PER_S
"""How long after its end a fault's agent may be silent before its task is given up.

A coordinator that was down or stopped has heard nobody: its agents have as long from when it is back.
"""
HALT_NS = NS_PER_S
"""One that looks so much later than it meant to was stopped, as was its machine perhaps."""
LOOK_AGAIN_S = 1.0
EXPIRED = "worker expired"
MOST_ATTEMPTS = 8
LONGEST_SLEEP_NS = 3600 * NS_PER_S


class Progress(Records):
    """The second layer of ``Tasks``."""

    @property
    def composites(self) -> "Composites":
        """Those that are under way."""
        raise NotImplementedError

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._alarms: dict[int, asyncio.TimerHandle] = {}
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._listens_since_ns = self.clock.boot_ns()
        """Since when agents can be heard without a halt of ours."""

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

    @property
    def ship_ahead_ns(self) -> int:
        """How long before its instant a worker is shipped."""
        return SHIP_AHEAD_NS

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
        now_ns = self.clock.boot_ns()
        wait_ns = min(max(self._next_look_ns(task) - now_ns, 0), LONGEST_SLEEP_NS)
        wait_s = wait_ns / NS_PER_S
        self._alarms[task.seq] = asyncio.get_running_loop().call_later(wait_s, self._look, task, now_ns + wait_ns)

    def _next_look_ns(self, task: Task) -> int:
        now_ns = self.clock.boot_ns()
        if task.state is State.PENDING:
            near_ns = task.start_boot_ns - SHIP_AHEAD_NS
            return near_ns if near_ns > now_ns else task.start_boot_ns
        if task.state is State.STOPPING:
            return now_ns + int(LOOK_AGAIN_S * NS_PER_S)
        return max(self._given_up_ns(task), now_ns + int(LOOK_AGAIN_S * NS_PER_S))

    def _given_up_ns(self, task: Task) -> int:
        """When agents that were not heard are not waited for any longer."""
        return max(task.end_boot_ns, self._listens_since_ns) + OVERDUE_NS

    def _look(self, task: Task, due_ns: int) -> None:
        now_ns = self.clock.boot_ns()
        if now_ns > due_ns + HALT_NS:
            self._listens_since_ns = now_ns
        if task.state is State.PENDING:
            if task.start_boot_ns <= now_ns:
                self.begin(task)
            if self._is_near(task) and any(worker.phase is Phase.NEW for worker in task.active):
                self._ship(task)
        else:
            for worker in task.active:
                error = self._given_up(worker, now_ns)
                if error is not None and not (error == EXPIRED and self._starts_late(worker)):
                    self._worker_done(worker, error)
            self.advance(task)
        self._set_alarm(task)

    def _starts_late(self, worker: Worker) -> bool:
        """A worker for now whose agent was ready only after its end starts late: that is what "now" asks for."""
        task = worker.task
        if not task.is_for_now or worker.attempts >= MOST_ATTEMPTS or task.state is State.STOPPING:
            return False
        worker.attempts += 1
        worker.late_ns = 2 * (self.clock.boot_ns() - task.start_boot_ns)
        worker.phase = Phase.SHIPPED
        end_ns = task.start_boot_ns + worker.late_ns + task.spec.duration_ms * NS_PER_MS
        task.end_boot_ns = max(task.end_boot_ns, end_ns)
        self.agents[worker.node].ship_anew(worker)
        return True

    def _given_up(self, worker: Worker, now_ns: int) -> str | None:
        """The error of a worker that is not waited for any longer; None: wait."""
        agent, task = self.agents[worker.node], worker.task
        has_fired = worker.phase is Phase.RUNNING
        lease_end_ns = max(agent.lease_sent_ns, worker.shipped_boot_ns, self._listens_since_ns) + LEASE_NS
        if not agent.up and not has_fired and task.state is State.STOPPING and task.start_boot_ns > lease_end_ns:
            return "" if now_ns > lease_end_ns else None
        if now_ns < self._given_up_ns(task):
            return None
        if agent.up:
            return None if has_fired else EXPIRED
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

    def end_failed(self, task: Task, error: str) -> None:
        """Stops a task for an error of its own, unless it is stopping already."""
        if task.state in (State.PENDING, State.RUNNING):
            task.error = task.error or error
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
            self._touch(parent)
            self.advance(parent)

    def _worker_done(self, worker: Worker, error: str, done_ms: int = -1) -> None:
        was, worker.phase = worker.phase, Phase.DONE
        worker.error = error
        worker.done_ms = done_ms if done_ms >= 0 else self.clock.wall_ms()
        if error and not worker.task.error:
            worker.task.error = error
        self._touch(worker.task)
        self._unregister(worker)
        self._save_worker(worker)
        self._emit_worker(worker)
        self.figures.over(worker.status)
        if was is not Phase.NEW:
            self.agents[worker.node].forget(worker.id)

    def close(self) -> None:
        """Looks at nothing any more."""
        if "composites" in vars(self):
            self.composites.close()
        for alarm in self._alarms.values():
            alarm.cancel()
        self._alarms.clear()
