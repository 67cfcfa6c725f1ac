"""Schedule after schedule by consecutive seeds until the check fails; then the smallest that still fails."""

from collections.abc import Callable
from dataclasses import dataclass

from trogdor.compose.schedule import fixed
from trogdor.hunt.run import Outcome
from trogdor.hunt.shrink import Tasks, shrink
from trogdor.hunt.state import FAILING, SMALLEST, HuntError, State
from trogdor.spec.schedule import FixedScheduleSpec, RandomScheduleSpec, spec_problems
from trogdor.topology import Topology

MOST_VOID = 3
"""Runs in a row whose faults did not take, before the hunt gives up."""

Run = Callable[[FixedScheduleSpec], Outcome]


@dataclass(frozen=True)
class Options:
    """How far a hunt goes."""

    seeds: int = 1000
    """Seeds to try, from the spec's own on."""
    repeats: int = 3
    """Runs of a candidate before it counts as one that does not fail: for failures that come and go."""
    confirm: int = 5
    """Runs of the smallest schedule at the end, to say how often it fails; if it never does, of the next larger."""
    max_runs: int = 500
    """Runs in all for shrinking; then what is smallest by then is kept."""


@dataclass(frozen=True)
class Found:
    """What a hunt found."""

    seed: int
    drawn: FixedScheduleSpec
    """The schedule of the seed."""
    smallest: FixedScheduleSpec
    why: str
    """The check's words."""
    failed: int
    """Of ``runs`` runs of the smallest schedule, how many failed."""
    runs: int


class _OutOfRuns(Exception):
    pass


def hunt(
    spec: RandomScheduleSpec,
    topology: Topology,
    run: Run,
    state: State,
    *,
    options: Options = Options(),
    say: Callable[[str], None] = lambda line: None,
) -> Found | None:
    """What it found, or None when no seed failed. Raises HuntError when the faults do not take."""
    outcome_of = _recorded(run, state)
    failing = _search(spec, topology, outcome_of, options, say)
    if failing is None:
        return None
    drawn, why = failing
    state.keep(FAILING, drawn)
    shrunk = _shrink(drawn, topology, outcome_of, quiet_ms=spec.quiet_ms, options=options, say=say)
    smallest, failed = _confirmed(shrunk, outcome_of, options.confirm, say)
    state.keep(SMALLEST, smallest)
    return Found(drawn.seed or 0, drawn, smallest, (failed or [why])[0], len(failed), options.confirm)


def _recorded(run: Run, state: State) -> Run:
    """Runs a schedule, unless the outcome of that run is on disk from before."""

    def outcome_of(schedule: FixedScheduleSpec) -> Outcome:
        outcome = state.recorded(schedule)
        if outcome is None:
            outcome = run(schedule)
            state.record(schedule, outcome)
        return outcome

    return outcome_of


def _search(
    spec: RandomScheduleSpec, topology: Topology, outcome_of: Run, options: Options, say: Callable[[str], None]
) -> tuple[FixedScheduleSpec, str] | None:
    void = 0
    for seed in range(spec.seed, spec.seed + options.seeds):
        drawn = fixed(spec.model_copy(update={"seed": seed}), topology)
        outcome = outcome_of(drawn)
        say(f"seed {seed}: {len(drawn.tasks)} faults, {outcome.result}" + (f": {outcome.why}" if outcome.why else ""))
        if outcome.result == "failed":
            return drawn, outcome.why
        void = void + 1 if outcome.result == "void" else 0
        if void == MOST_VOID:
            raise HuntError(
                f"{void} schedules in a row did not take, the last with: {outcome.why}. "
                "A check means nothing then; try one of the faults alone with `trogdor run`"
            )
    return None


def _shrink(
    drawn: FixedScheduleSpec,
    topology: Topology,
    outcome_of: Run,
    *,
    quiet_ms: int,
    options: Options,
    say: Callable[[str], None],
) -> list[FixedScheduleSpec]:
    """The schedules that failed on the way from the one drawn, the smallest last."""
    runs, failing = 0, [drawn]

    def fails(tasks: Tasks) -> bool:
        nonlocal runs
        schedule = schedule_of(tasks, drawn, quiet_ms)
        for _ in range(options.repeats):
            if runs >= options.max_runs:
                raise _OutOfRuns
            runs += 1
            outcome = outcome_of(schedule)
            if outcome.result == "failed":
                failing.append(schedule)
                say(f"run {runs}: {_size(schedule)} still fail")
                return True
        say(f"run {runs}: {_size(schedule)} pass")
        return False

    def valid(tasks: Tasks) -> bool:
        return not any(problem for task in tasks for problem in spec_problems("", task.spec, topology, set()))

    try:
        shrink(drawn.tasks, fails, frozenset(topology.nodes), valid)
    except _OutOfRuns:
        say(f"{options.max_runs} runs are over: what is smallest by now is kept")
    return failing


def _confirmed(
    shrunk: list[FixedScheduleSpec], outcome_of: Run, runs: int, say: Callable[[str], None]
) -> tuple[FixedScheduleSpec, list[str]]:
    """The smallest that fails again in ``runs`` runs, and what the check said each time; the one drawn if none does."""
    for schedule in reversed(shrunk):
        outcomes = [outcome_of(schedule) for _ in range(runs)]
        failed = [outcome.why for outcome in outcomes if outcome.result == "failed"]
        if failed or not runs:
            return schedule, failed
        say(f"{_size(schedule)} pass {runs} times more, it was luck: back to what failed before")
    return shrunk[0], []


def schedule_of(tasks: Tasks, drawn: FixedScheduleSpec, quiet_ms: int) -> FixedScheduleSpec:
    """A schedule of some of the tasks drawn, with the same quiet time after the last of them."""
    duration_ms = max((task.end_ms for task in tasks), default=0) + max(quiet_ms, 1)
    return drawn.model_copy(update={"tasks": tasks, "duration_ms": duration_ms})


def _size(schedule: FixedScheduleSpec) -> str:
    faults = len(schedule.tasks)
    return f"{faults} {'fault' if faults == 1 else 'faults'} in {schedule.duration_ms / 1000:g} s"
