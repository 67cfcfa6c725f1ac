"""``trogdor demo-kafka``: the active controller of a real Kafka cluster is suspended while a producer writes."""

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.output import bad, bold, coloured, good, print_json

if TYPE_CHECKING:
    from trogdor.lab.kafka_demo import Report

_COLOURS = {"n1": "36", "n2": "33", "n3": "35", "writes": "32", "task": "1", "kafka": "1"}


def command(
    duration: Annotated[str, typer.Option("--for", help="How long the controller is suspended.")] = "10s",
    as_json: Annotated[bool, typer.Option("--json", help="Print only the report, as JSON.")] = False,
) -> None:
    """Suspends the active controller of a real Kafka cluster for 10 s while a producer writes with acks=all.

    Three brokers on three nodes of this machine (Apache Kafka 4.1 in KRaft mode; Java, and Maven the first time, are
    needed). Shows who takes over, and counts acknowledged messages that are lost. Everything is gone at the end.
    """
    from trogdor.cli.duration import parse_duration_ms
    from trogdor.cli.target import failures
    from trogdor.lab import LabError, kafka_demo

    try:
        duration_ms = parse_duration_ms(duration)
    except ValueError as error:
        raise Failure(ExitCode.BAD_USAGE, str(error)) from None
    began = time.monotonic()

    def say(who: str, what: str) -> None:
        if not as_json:
            sys.stdout.write(
                f"{time.monotonic() - began:6.2f} s  {coloured(f'{who:6}', _COLOURS.get(who, '0'))}  {what}\n"
            )
            sys.stdout.flush()

    try:
        with failures():
            report = kafka_demo.run(say, duration_ms=duration_ms)
    except LabError as error:
        raise Failure(ExitCode.IMPOSSIBLE, str(error)) from None
    except TimeoutError as error:
        raise Failure(ExitCode.NOT_TAKEN, str(error)) from None
    except KeyboardInterrupt:
        raise Failure(ExitCode.INTERRUPTED, "interrupted; the lab is gone, and the fault with it") from None
    if as_json:
        print_json(asdict(report))
    else:
        _print_report(report)
    if report.problems:
        raise Failure(ExitCode.NOT_TAKEN, "the demonstration failed:\n  " + "\n  ".join(report.problems))


def _print_report(report: "Report") -> None:
    for each in report.found:
        print(f"\nfound by                 {each['how']} ({each['tookMs']:.0f} ms)")
    print(f"controller               {report.controller}, epoch {report.epoch}")
    print(f"new controller           {bold(report.new_controller)}, epoch {report.new_epoch}")
    print(f"acknowledged messages    {report.acknowledged}, {report.during_fault} of them during the fault")
    lost = len(report.lost)
    print(f"lost                     {bad(str(lost)) if lost else good('0')}")
