"""One worker: its share of a task, from armed to done, as a coroutine that reads like its life."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from trogdor.agent.work import Json, Work
from trogdor.claim.model import CannotInject, Term
from trogdor.instant import NS_PER_MS, Clock, FiringThread, Timer
from trogdor.logs import log_event
from trogdor.spec import Spec, SpecError
from trogdor.wire.messages import WorkerPhase, worker_state

log = logging.getLogger(__name__)

EXPIRED = "worker expired"
LEASE_EXPIRED = "lease expired"


@dataclass(frozen=True)
class Lease:
    """An armed worker fires only if its coordinator was heard within ``lease_ns`` before the instant."""

    coordinator: str
    lease_ns: int


@dataclass(eq=False)
class Worker:
    """A worker and where it stands. Only the event loop changes it."""

    term: Term
    spec: Spec
    work: Work
    wall_offset_ns: int
    """Added to CLOCK_BOOTTIME it gives the wall clock in which this worker's times are told."""
    lease: Lease | None = None
    phase: WorkerPhase = "STARTING"
    started_ms: int = -1
    done_ms: int = -1
    error: str = ""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    prepared: asyncio.Event = field(default_factory=asyncio.Event)
    """Armed, or done already."""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Begun, or done already."""
    done: asyncio.Event = field(default_factory=asyncio.Event)
    life: "asyncio.Task[None] | None" = None
    forgotten: bool = False
    """To be forgotten once it is done."""

    @property
    def id(self) -> int:
        """The worker's id."""
        return self.term.worker_id

    def ms(self, boot_ns: int) -> int:
        """An instant in ms since the epoch, by the clock in which this worker's times are told."""
        return (boot_ns + self.wall_offset_ns) // NS_PER_MS

    def to_json(self) -> dict[str, Json]:
        """As ``GET /agent/status`` shows it."""
        return worker_state(
            self.phase,
            self.term.task_id,
            self.spec.to_json(),
            started_ms=self.started_ms,
            done_ms=self.done_ms,
            status=self.work.status,
            error=self.error,
        )


class Lives:
    """Leads workers through their lives. What the node is made of changes on the firing thread alone."""

    def __init__(
        self,
        clock: Clock,
        firing: FiringThread,
        heard_ns: Callable[[str], int],
        changed: Callable[[Worker], None],
    ) -> None:
        """``heard_ns``: coordinator → when it was heard last. ``changed``: told of each change of a worker."""
        self._clock = clock
        self._firing = firing
        self._heard_ns = heard_ns
        self._changed = changed

    def begin(self, worker: Worker) -> None:
        """Starts a worker's life."""
        worker.work.changed = lambda: self._changed(worker)
        worker.life = asyncio.create_task(self._live(worker), name=f"worker {worker.id}")

    async def _live(self, worker: Worker) -> None:
        try:
            await self._live_through(worker)
        except Exception as problem:
            log.exception("worker %d of task %s failed", worker.id, worker.term.task_id)
            worker.error = worker.error or f"{type(problem).__name__}: {problem}"
            try:
                await self._on_firing_thread(lambda: worker.work.release("stop"))
            except Exception:
                log.exception("worker %d of task %s could not be released", worker.id, worker.term.task_id)
        self._done(worker)

    async def _live_through(self, worker: Worker) -> None:
        if worker.term.end_ns <= self._clock.boot_ns():
            worker.error = EXPIRED
            worker.started_ms = -1 if worker.lease else worker.ms(self._clock.boot_ns())
            return
        try:
            await worker.work.prepare()
        except (CannotInject, SpecError) as error:
            worker.error = str(error)
            worker.started_ms = -1 if worker.lease else worker.ms(self._clock.boot_ns())
            return
        worker.prepared.set()
        _log(worker, "ARMED")
        self._changed(worker)
        if not await self._fire(worker):
            await self._on_firing_thread(lambda: worker.work.release("stop"))
            await worker.work.disarmed()
            return
        worker.phase = "RUNNING"
        _log(worker, "RUNNING")
        self._changed(worker)
        await self._hold(worker)
        worker.phase = "STOPPING"
        self._changed(worker)
        left_over = await worker.work.finish()
        worker.error = worker.error or left_over

    async def _fire(self, worker: Worker) -> bool:
        """Waits for the instant and fires; False when it never will: it was stopped, or its error says why."""
        fired: asyncio.Future[int | str] = asyncio.get_running_loop().create_future()

        def fire() -> int | str:
            now_ns = self._clock.boot_ns()
            lease = worker.lease
            if worker.stopping.is_set():
                return ""
            if now_ns >= worker.term.end_ns:
                return EXPIRED
            if lease and now_ns - self._heard_ns(lease.coordinator) > lease.lease_ns:
                return LEASE_EXPIRED
            worker.work.fire()
            return now_ns

        timer = self._at(worker.term.start_ns, fire, fired)
        if not await _first(fired, worker.stopping) and timer.cancel():
            return False
        outcome = await fired
        if isinstance(outcome, str):
            worker.error = outcome
            return False
        worker.started_ms = worker.ms(outcome)
        return True

    async def _hold(self, worker: Worker) -> None:
        """Until its end, a stop, or until the work is over by itself; released when this returns."""
        running: asyncio.Future[Any] = asyncio.create_task(worker.work.run())
        ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        timer = self._at(worker.term.end_ns, lambda: worker.work.release("end"), ended)
        stopping: asyncio.Future[Any] = asyncio.create_task(worker.stopping.wait())
        worker.settled.set()
        try:
            await asyncio.wait([running, ended, stopping], return_when=asyncio.FIRST_COMPLETED)
            over = running.done()
            if timer.cancel():
                await self._on_firing_thread(lambda: worker.work.release("stop"))
            else:
                await ended
            if over:
                worker.error = _outcome(running)
        finally:
            stopping.cancel()
            running.cancel()
            await asyncio.wait([running])

    def _at(self, instant_ns: int, call: Callable[[], Any], result: "asyncio.Future[Any]") -> Timer:
        """Makes ``call`` on the firing thread at an instant; what it returns is handed to ``result``."""
        loop = asyncio.get_running_loop()

        def made() -> None:
            try:
                value = call()
            except Exception as error:
                loop.call_soon_threadsafe(_settle, result, None, error)
            else:
                loop.call_soon_threadsafe(_settle, result, value, None)

        return self._firing.at(instant_ns, made)

    async def _on_firing_thread(self, call: Callable[[], None]) -> None:
        result: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._at(0, call, result)
        await result

    def _done(self, worker: Worker) -> None:
        worker.phase = "DONE"
        worker.done_ms = worker.ms(self._clock.boot_ns())
        for event in (worker.prepared, worker.settled, worker.done):
            event.set()
        _log(worker, "DONE")
        self._changed(worker)


def _outcome(running: "asyncio.Future[Any]") -> str:
    """Why the work was over before its time; what it raised is an error of the worker like any other."""
    problem = running.exception()
    if problem is None:
        return str(running.result())
    log.error("a worker failed while it ran", exc_info=problem)
    return f"{type(problem).__name__}: {problem}"


def _settle(future: "asyncio.Future[Any]", value: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)


def _log(worker: Worker, state: str) -> None:
    """A line for each step of a worker's life."""
    event = {"type": "worker", "taskId": worker.term.task_id, "workerId": worker.id, "state": state}
    status = worker.work.status
    if state == "DONE" and isinstance(status, dict) and "verdict" in status:
        event["status"] = status
    if worker.error:
        event["error"] = worker.error
    log_event(log, logging.WARNING if worker.error else logging.INFO, event)


async def _first(future: "asyncio.Future[Any]", stop: asyncio.Event) -> bool:
    """Whether the future is done, once it is or ``stop`` is set."""
    stopping: asyncio.Future[Any] = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([future, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    return future.done()
