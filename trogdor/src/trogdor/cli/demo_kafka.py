"""``trogdor demo-kafka``: the active controller of a real Kafka cluster is suspended while a producer writes."""

from typing import TYPE_CHECKING, Annotated

import typer

from trogdor.cli.output import bad, bold, good

if TYPE_CHECKING:
    from trogdor.lab.kafka_demo import Report


def command(
    duration: Annotated[str, typer.Option("--for", help="How long the controller is suspended.")] = "10s",
    as_json: Annotated[bool, typer.Option("--json", help="Print only the report, as JSON.")] = False,
) -> None:
    """Suspends the active controller of a real Kafka cluster for 10 s while a producer writes with acks=all.

    Three brokers on three nodes of this machine (Apache Kafka 4.1 in KRaft mode; Java, and Maven the first time, are
    needed). Shows who takes over, and counts acknowledged messages that are lost. Everything is gone at the end.
    """
    from trogdor.cli.demonstration import present
    from trogdor.lab import kafka_demo

    present(kafka_demo.run, _print_report, duration=duration, as_json=as_json)


def _print_report(report: "Report") -> None:
    for each in report.found:
        print(f"\nfound by                 {each['how']} ({each['tookMs']:.0f} ms)")
    print(f"controller               {report.controller}, epoch {report.epoch}")
    print(f"new controller           {bold(report.new_controller)}, epoch {report.new_epoch}")
    print(f"acknowledged messages    {report.acknowledged}, {report.during_fault} of them during the fault")
    lost = len(report.lost)
    print(f"lost                     {bad(str(lost)) if lost else good('0')}")
