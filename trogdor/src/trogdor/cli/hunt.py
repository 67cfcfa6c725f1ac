"""``trogdor hunt``: seed after seed until the check fails, then the smallest schedule that still does."""

import secrets
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trogdor.cli.duration import say_duration
from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.schedule import (
    CheckCommand,
    CheckFunction,
    CheckTimeout,
    Every,
    FileArgument,
    Seed,
    coordinators_topology,
    every_ms,
    headline,
    read_schedule,
    the_check,
)
from trogdor.cli.target import Target, coordinator

if TYPE_CHECKING:
    from trogdor.client import Client
    from trogdor.hunt.check import Check
    from trogdor.hunt.hunt import Found, Run
    from trogdor.hunt.run import Outcome
    from trogdor.spec.schedule import FixedScheduleSpec

RESET_TIMEOUT_S = 300.0


def command(
    *,
    file: FileArgument,
    check: CheckCommand = None,
    check_function: CheckFunction = None,
    check_timeout: CheckTimeout = "60s",
    every: Every = None,
    reset: Annotated[
        str | None, typer.Option("--reset", metavar="COMMAND", help="Run before each schedule, to start from the same.")
    ] = None,
    seed: Seed = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds to try.")] = 1000,
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, help="Runs of a smaller schedule before it counts as passing.")
    ] = 3,
    confirm: Annotated[int, typer.Option("--confirm", min=1, help="Runs of the smallest one, to count.")] = 5,
    max_runs: Annotated[int, typer.Option("--max-runs", min=1, help="Runs for making it smaller.")] = 500,
    state: Annotated[
        Path | None, typer.Option("--state", metavar="DIR", help="Where the hunt is kept; hunt-FILE unless given.")
    ] = None,
    target: Target = None,
) -> None:
    """Runs schedule after schedule by consecutive seeds until the check fails, then makes the failing one small.

    trogdor hunt soak.yaml --check ./invariants.sh --every 2s --reset ./wipe.sh

    Fewer faults, fewer nodes, shorter, later, as long as it still fails. Interrupted, it goes on where it was when
    called again. Exit code: 0 no seed failed, 1 one did, 3 the faults do not take.
    """
    from trogdor.hunt.hunt import Options, hunt
    from trogdor.hunt.state import HuntError, State
    from trogdor.spec.schedule import RandomScheduleSpec

    spec = read_schedule(file, seed)
    if not isinstance(spec, RandomScheduleSpec):
        raise Failure(ExitCode.BAD_USAGE, f"{file} is drawn already: `trogdor replay` runs it")
    if check is None and check_function is None and spec.check_command is None:
        raise Failure(
            ExitCode.BAD_USAGE, "--check or --check-function is needed, or check in the schedule: what is a failure?"
        )
    checked = the_check(check, check_function, check_timeout)
    print(headline(spec), flush=True)
    directory = state or Path(f"hunt-{Path(file).stem}")
    with coordinator(target) as client:
        topology = coordinators_topology(client)
        hunted = {
            "spec": spec.to_json(), "nodes": topology.agents(), "check": check or check_function, "every": every,
            "reset": reset, "repeats": repeats, "maxRuns": max_runs,
        }  # fmt: skip
        options = Options(seeds, repeats, confirm, max_runs)
        try:
            kept = State(directory, hunted)
            if kept.taken_up:
                print(f"going on after {kept.taken_up} runs, kept in {directory}", flush=True)
            with _runner(client, checked, every_ms(every), reset) as run:
                found = hunt(
                    spec, topology, run, kept, options=options, say=lambda line: print(f"  {line}", flush=True)
                )
        except HuntError as error:
            raise Failure(ExitCode.NOT_TAKEN, str(error)) from None
        except KeyboardInterrupt:
            raise Failure(ExitCode.INTERRUPTED, "interrupted; the same command goes on from here") from None
    if found is None:
        print(f"no seed from {spec.seed} to {spec.seed + seeds - 1} failed")
        return
    _tell(found, directory, check, check_function, every)
    raise SystemExit(int(ExitCode.CHECK_FAILED))


@contextmanager
def _runner(client: "Client", check: "Check", every: int, reset: str | None) -> "Iterator[Run]":
    """A function that runs a schedule, after a reset; all under one lease."""
    from trogdor.cli.foreground import signals_interrupt
    from trogdor.hunt.run import forget, run_schedule

    word = secrets.token_hex(3)
    numbers = count(1)
    with signals_interrupt(), client.lease() as lease:

        def run(schedule: "FixedScheduleSpec") -> "Outcome":
            if reset is not None:
                _run_reset(reset)
            task_id = f"hunt-{word}-{next(numbers)}"
            outcome = run_schedule(client, task_id, schedule.to_json(), check=check, every_ms=every, lease=lease)
            if outcome.result == "passed":
                forget(client, task_id)
            return outcome

        yield run


def _run_reset(reset: str) -> None:
    from trogdor.hunt.check import run_command

    code, words = run_command(reset, RESET_TIMEOUT_S)
    if code != 0:
        raise Failure(ExitCode.BAD_USAGE, f"--reset failed with exit code {code}: {words}")


def _tell(found: "Found", directory: Path, check: str | None, function: str | None, every: str | None) -> None:
    from trogdor.hunt.state import SMALLEST
    from trogdor.timeline.collect import detail_of, what_of
    from trogdor.timeline.layout import say_offset

    tasks = found.smallest.tasks
    print(f"\nseed {found.seed} fails: {found.why}")
    print(
        f"the smallest schedule that still does has {len(tasks)} of {len(found.drawn.tasks)} faults in "
        f"{say_duration(found.smallest.duration_ms)}, and failed {found.failed} of {found.runs} times:"
    )
    for task in sorted(tasks, key=lambda task: task.at_ms):
        print(
            f"  {say_offset(task.at_ms, 1)}  for {say_duration(task.duration_ms)}  {what_of(task.spec)}  "
            f"{detail_of(task.spec)}"
        )
    if not tasks:
        print("  none: the check fails without any fault")
    words = ["trogdor", "replay", str(directory / SMALLEST)]
    words += ["--check", check] if check else ["--check-function", function] if function else []
    words += ["--every", every] if every else []
    print(f"replay it with:\n  {shlex.join(words)}")
