"""``trogdor replay``: the tasks of a schedule that was drawn or found before, again."""

from typing import Annotated

import typer

from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.schedule import (
    CheckCommand,
    CheckFunction,
    CheckTimeout,
    Every,
    FileArgument,
    every_ms,
    new_id,
    read_schedule,
    run_and_tell,
    the_check,
)
from trogdor.cli.target import Target, coordinator


def command(
    *,
    file: FileArgument,
    check: CheckCommand = None,
    check_function: CheckFunction = None,
    check_timeout: CheckTimeout = "60s",
    every: Every = None,
    times: Annotated[int, typer.Option("--times", min=1, help="Run it so often, or until the check fails.")] = 1,
    target: Target = None,
) -> None:
    """Runs drawn tasks again: the very tasks, whatever a seed would draw now.

    trogdor replay hunt-soak/smallest.json --check ./invariants.sh --times 10

    `trogdor schedule show FILE --json` draws a schedule's tasks; `trogdor hunt` leaves those it has found.
    """
    from trogdor.spec.schedule import FixedScheduleSpec

    spec = read_schedule(file)
    if not isinstance(spec, FixedScheduleSpec):
        raise Failure(ExitCode.BAD_USAGE, f"{file} is not drawn yet: `trogdor schedule run` draws and runs it")
    checked = the_check(check, check_function, check_timeout)
    with coordinator(target) as client:
        for _ in range(times):
            run_and_tell(client, spec, checked, every_ms(every), new_id("replay"))
