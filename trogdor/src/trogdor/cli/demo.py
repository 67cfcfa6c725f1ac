"""``trogdor demo``: the main job on a real cluster, watched live."""

from typing import TYPE_CHECKING, Annotated

import typer

from trogdor.cli.output import bad, bold, clock, good, print_table

if TYPE_CHECKING:
    from trogdor.lab.demo import Report


def command(
    duration: Annotated[str, typer.Option("--for", help="How long the leader is cut off.")] = "5s",
    as_json: Annotated[bool, typer.Option("--json", help="Print only the report, as JSON.")] = False,
) -> None:
    """Cuts off the leader of a real etcd cluster for 5 s, and heals it.

    Three nodes on this machine, an agent on each and a coordinator; etcd is written to ten times a second. Needs no
    root. Everything is gone at the end. Fails if the leader never changed or if anything remained.
    """
    from trogdor.cli.demonstration import present
    from trogdor.lab import demo

    present(demo.run, _print_report, duration=duration, as_json=as_json)


def _print_report(report: "Report") -> None:
    print()
    print_table(
        ("node", "cut asked", "seen", "", "end asked", "seen", "", "verdict", "undone by"),
        [
            (
                node,
                _time(status.get("askedStartMs")),
                *_seen(status.get("askedStartMs"), status.get("seenStartMs")),
                _time(status.get("askedEndMs")),
                *_seen(status.get("askedEndMs"), status.get("seenEndMs")),
                str(status.get("verdict")),
                str(status.get("undoneBy")),
            )
            for node, status in sorted(report.nodes.items())
        ],
        empty="no node said anything of the fault",
    )
    print()
    if report.new_leader_ms is not None:
        after = f"{report.new_leader_ms / 1000:.2f} s after the cut"
        print(f"new leader               {bold(str(report.new_leader))} for {report.leader}, {after}")
    gap = f"longest time without {report.longest_gap_ms / 1000:.2f} s"
    print(f"writes                   {report.acknowledged} acknowledged, {report.failed} failed, {gap}")
    missing = str(len(report.missing))
    print(f"acknowledged but missing {bad(missing) if report.missing else good(missing)}")
    for number, line in enumerate(report.clean):
        print(f"{'' if number else 'checked at the end':24} {good(line)}")


def _time(at_ms: float | None) -> str:
    return "-" if at_ms is None else clock(at_ms)


def _seen(asked_ms: float | None, seen_ms: float | None) -> tuple[str, str]:
    lag = "" if asked_ms is None or seen_ms is None else f"{seen_ms - asked_ms:+.1f} ms"
    return _time(seen_ms), lag
