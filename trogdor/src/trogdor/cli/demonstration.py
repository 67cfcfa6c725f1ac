"""What the demonstrations have in common: live lines while one runs, its report at the end, its failures."""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.output import coloured, print_json

if TYPE_CHECKING:
    from trogdor.lab.demo import Report as Etcd
    from trogdor.lab.kafka_demo import Report as Kafka

Report = TypeVar("Report", "Etcd", "Kafka")

_COLOURS = {"n1": "36", "n2": "33", "n3": "35", "writes": "32", "task": "1", "kafka": "1"}


def present(
    run: Callable[..., Report], print_report: Callable[[Report], None], *, duration: str, as_json: bool
) -> None:
    """Runs ``run(say, duration_ms=…)`` and prints what it says and reports. Raises Failure for its problems."""
    from trogdor.cli.duration import parse_duration_ms
    from trogdor.cli.target import failures
    from trogdor.lab import LabError

    try:
        duration_ms = parse_duration_ms(duration)
    except ValueError as error:
        raise Failure(ExitCode.BAD_USAGE, str(error)) from None
    try:
        with failures():
            report = run(_silent if as_json else _live(), duration_ms=duration_ms)
    except LabError as error:
        raise Failure(ExitCode.IMPOSSIBLE, str(error)) from None
    except TimeoutError as error:
        raise Failure(ExitCode.NOT_TAKEN, str(error)) from None
    except KeyboardInterrupt:
        raise Failure(ExitCode.INTERRUPTED, "interrupted; the lab is gone, and the fault with it") from None
    if as_json:
        print_json(asdict(report))
    else:
        print_report(report)
    if report.problems:
        raise Failure(ExitCode.NOT_TAKEN, "the demonstration failed:\n  " + "\n  ".join(report.problems))


def _live() -> Callable[[str, str], None]:
    began = time.monotonic()

    def say(who: str, what: str) -> None:
        name = coloured(f"{who:6}", _COLOURS.get(who, "0"))
        sys.stdout.write(f"{time.monotonic() - began:6.2f} s  {name}  {what}\n")
        sys.stdout.flush()

    return say


def _silent(*_: Any) -> None: ...
