"""A worker's life: in order, never early, never twice, whatever stops it and when; by clocks that are off and drift."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from trogdor.agent.work import Json, Work
from trogdor.agent.worker import Lease, Lives, Worker
from trogdor.claim.model import CannotInject, Term
from trogdor.instant import NS_PER_MS, NS_PER_S, Clock, DriftingClock, FiringThread
from trogdor.spec.task import NoOpTaskSpec

WAIT_S = 30.0


class Recorded(Work):
    """Does nothing but to remember what was asked of it, and when by the agent's clock."""

    def __init__(self, clock: Clock, *, run: Any = None, prepare: Any = None) -> None:
        self.clock = clock
        self.steps: list[str] = []
        self.fired_ns = 0
        self.released_ns = 0
        self._run, self._prepare = run, prepare

    @property
    def status(self) -> Json:
        return None

    async def prepare(self) -> None:
        self.steps.append("prepare")
        if self._prepare is not None:
            await self._prepare()

    def fire(self) -> None:
        self.fired_ns = self.clock.boot_ns()
        self.steps.append("fire")

    async def run(self) -> str:
        self.steps.append("run")
        if self._run is not None:
            return str(await self._run())
        return await super().run()

    def release(self, how: str) -> None:
        self.released_ns = self.clock.boot_ns()
        self.steps.append(f"release {how}")

    async def disarmed(self) -> None:
        self.steps.append("disarmed")

    async def finish(self) -> str:
        self.steps.append("finish")
        return ""


class Stage:
    """Everything that a life needs, on one clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.firing = FiringThread(clock)
        self.heard = {"c": clock.boot_ns()}
        self.phases: list[str] = []
        self.lives = Lives(clock, self.firing, self.heard.__getitem__, lambda worker: self.phases.append(worker.phase))

    def begin(self, work: Work, *, in_ms: float, for_ms: float, lease_ms: float | None = 10_000) -> Worker:
        start_ns = self.clock.boot_ns() + round(in_ms * NS_PER_MS)
        term = Term("t", 1, start_ns, start_ns + round(for_ms * NS_PER_MS))
        lease = None if lease_ms is None else Lease("c", round(lease_ms * NS_PER_MS))
        worker = Worker(term, NoOpTaskSpec(), work, 0, lease)
        self.lives.begin(worker)
        return worker


@pytest.fixture(params=[0, 3, -3], ids=lambda off_s: f"clock{off_s:+}s")
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    stage = Stage(DriftingClock(request.param * NS_PER_S, drift_ppm=request.param * 100))
    yield stage
    stage.firing.close()


async def done(worker: Worker) -> Worker:
    await asyncio.wait_for(worker.done.wait(), WAIT_S)
    return worker


async def test_each_step_once_in_order_and_none_early(stage: Stage) -> None:
    work = Recorded(stage.clock)
    worker = await done(stage.begin(work, in_ms=50, for_ms=1000))
    assert work.steps == ["prepare", "fire", "run", "release end", "finish"]
    assert worker.term.start_ns <= work.fired_ns
    assert worker.term.end_ns <= work.released_ns
    assert list(dict.fromkeys(stage.phases)) == ["STARTING", "RUNNING", "STOPPING", "DONE"]
    assert (worker.error, worker.done_ms > 0) == ("", True)
    noted_before_it_is_fired = worker.term.start_ns // NS_PER_MS <= worker.started_ms <= work.fired_ns // NS_PER_MS
    assert noted_before_it_is_fired


async def test_a_stop_before_the_instant_disarms(stage: Stage) -> None:
    work = Recorded(stage.clock)
    worker = stage.begin(work, in_ms=3_600_000, for_ms=1000)
    await worker.prepared.wait()
    worker.stopping.set()
    await done(worker)
    assert work.steps == ["prepare", "release stop", "disarmed"]
    assert (worker.error, worker.started_ms) == ("", -1)


@pytest.mark.parametrize("in_ms", [0, 3_600_000])
async def test_a_stop_while_it_is_being_prepared_waits_for_that_and_it_never_fires(stage: Stage, in_ms: int) -> None:
    go_on = asyncio.Event()
    work = Recorded(stage.clock, prepare=go_on.wait)
    worker = stage.begin(work, in_ms=in_ms, for_ms=3_600_000)
    worker.stopping.set()
    await asyncio.sleep(0.02)
    assert not worker.done.is_set()
    go_on.set()
    await done(worker)
    assert work.steps == ["prepare", "release stop", "disarmed"]
    assert worker.error == ""


async def test_one_that_can_neither_begin_nor_be_released_is_done_with_its_error(stage: Stage) -> None:
    def broken(*_: str) -> None:
        raise KeyError("broken")

    work = Recorded(stage.clock)
    work.fire = work.release = broken  # type: ignore[method-assign]
    worker = await done(stage.begin(work, in_ms=10, for_ms=1000))
    assert (worker.phase, worker.error) == ("DONE", "KeyError: 'broken'")


async def test_a_silent_coordinator_disarms_and_one_that_is_heard_does_not(stage: Stage) -> None:
    silent, heard = Recorded(stage.clock), Recorded(stage.clock)
    stage.heard["c"] = stage.clock.boot_ns() - NS_PER_S
    worker = await done(stage.begin(silent, in_ms=10, for_ms=3_600_000, lease_ms=900))
    assert (worker.error, worker.started_ms) == ("lease expired", -1)
    assert silent.steps == ["prepare", "release stop", "disarmed"]
    stage.heard["c"] = stage.clock.boot_ns()
    worker = stage.begin(heard, in_ms=10, for_ms=3_600_000)
    await asyncio.wait_for(worker.settled.wait(), WAIT_S)
    worker.stopping.set()
    await done(worker)
    assert (heard.steps[:2], worker.error) == (["prepare", "fire"], "")


async def test_a_running_worker_needs_no_lease(stage: Stage) -> None:
    work = Recorded(stage.clock)
    worker = stage.begin(work, in_ms=0, for_ms=200)
    await worker.settled.wait()
    stage.heard["c"] = 0
    assert (await done(worker)).error == ""
    assert "release end" in work.steps


@pytest.mark.parametrize(("outcome", "error"), [("boom", "boom"), ("", "")])
async def test_work_that_is_over_before_its_time_is_released_at_once(stage: Stage, outcome: str, error: str) -> None:
    async def over() -> str:
        return outcome

    work = Recorded(stage.clock, run=over)
    worker = await done(stage.begin(work, in_ms=0, for_ms=3_600_000))
    assert work.steps == ["prepare", "fire", "run", "release stop", "finish"]
    assert worker.error == error


async def test_work_that_fails_is_released_and_finished(stage: Stage) -> None:
    async def fails() -> str:
        raise KeyError("a bug")

    work = Recorded(stage.clock, run=fails)
    worker = await done(stage.begin(work, in_ms=0, for_ms=3_600_000))
    assert work.steps[-2:] == ["release stop", "finish"]
    assert worker.error == "KeyError: 'a bug'"


@pytest.mark.parametrize("problem", [CannotInject("libnftables1 is missing"), ZeroDivisionError("a bug")])
async def test_what_cannot_be_prepared_is_never_fired(stage: Stage, problem: Exception) -> None:
    async def refuses() -> None:
        raise problem

    work = Recorded(stage.clock, prepare=refuses)
    worker = await done(stage.begin(work, in_ms=0, for_ms=1000))
    assert "fire" not in work.steps
    assert str(problem) in worker.error


async def test_what_was_prepared_too_slowly_is_not_fired_after_its_end(stage: Stage) -> None:
    work = Recorded(stage.clock, prepare=lambda: asyncio.sleep(0.2))
    worker = await done(stage.begin(work, in_ms=50, for_ms=50))
    assert "fire" not in work.steps
    assert worker.error == "worker expired"


@pytest.mark.parametrize(("lease_ms", "started"), [(None, True), (10_000, False)])
async def test_after_its_end_it_expires(stage: Stage, lease_ms: float | None, started: bool) -> None:
    work = Recorded(stage.clock)
    worker = await done(stage.begin(work, in_ms=-2000, for_ms=1000, lease_ms=lease_ms))
    assert (work.steps, worker.error) == ([], "worker expired")
    assert (worker.started_ms != -1) == started


async def stopped_around_their_instants(stage: Stage, ms: int) -> list[Recorded]:
    """Many workers, stopped within ``ms`` or some of their instants and ends, on both sides."""
    works = [Recorded(stage.clock) for _ in range(150)]
    workers = [stage.begin(work, in_ms=(100 + index % 5) * ms, for_ms=5 * ms) for index, work in enumerate(works)]

    async def stop(worker: Worker) -> None:
        await asyncio.sleep((98 + 15 * random.random()) * ms / 1000)
        worker.stopping.set()

    await asyncio.gather(*map(stop, workers), *map(done, workers))
    return works


async def test_stopped_at_any_moment_what_was_fired_is_released_once_and_after(stage: Stage) -> None:
    random.seed(7)
    for ms in (1, 10, 100):  # a machine that stalls for as long has none fired
        works = await stopped_around_their_instants(stage, ms)
        for work in works:
            if "fire" in work.steps:
                releases = [step for step in work.steps if step.startswith("release")]
                assert len(releases) == 1
                assert work.steps.index("fire") < work.steps.index(releases[0])
                assert work.steps[-1] == "finish"
                assert work.fired_ns <= work.released_ns
            else:
                assert work.steps in ([], ["prepare", "release stop", "disarmed"])
        if any("fire" in work.steps for work in works):
            return
    pytest.fail("no worker was ever fired")
