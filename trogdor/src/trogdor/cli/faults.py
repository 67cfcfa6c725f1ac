"""``trogdor faults``: what is in force now."""

from typing import Annotated, Any

import typer

from trogdor.cli.duration import now_ms, say_duration
from trogdor.cli.output import bad, clock, doubtful, good, print_json, print_table
from trogdor.cli.safety import say_frozen
from trogdor.cli.target import Target, agent, coordinator


def command(
    *,
    target: Target = None,
    one: Annotated[
        str | None, typer.Option("--agent", metavar="TARGET", help="Ask one agent: its HOST:PORT or unix:PATH.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Shows what is in force now, on every node, whether it is seen, and until when.

    "overdue" is what should be over: its agent could not undo it and tries again.
    """
    with agent(one) if one else coordinator(target) as client:
        answer = client.faults()
    if as_json:
        print_json(answer)
        return
    header = ("NODE", "TASK", "WHAT", "SEEN", "UNTIL", "LEFT", "ON")
    print_table(header, [_row(fault) for fault in answer["faults"]], "no faults")
    if frozen := say_frozen(bool(answer.get("frozen")), answer.get("frozenNodes", ())):
        print(doubtful(frozen))


def _row(fault: dict[str, Any]) -> tuple[str, ...]:
    status = fault.get("status")
    status = status if isinstance(status, dict) else {}
    left_ms = fault["untilMs"] - now_ms()
    node = str(fault.get("node", ""))
    return (
        node if fault.get("up", True) else bad(f"{node} (down)"),
        str(fault["taskId"]),
        str(fault["class"] or "?").rpartition(".")[2].removesuffix("Spec"),
        _say_verdict(str(status.get("verdict", "?"))),
        clock(fault["untilMs"]),
        bad("overdue") if left_ms <= 0 or fault.get("overdue") else say_duration(left_ms // 1000 * 1000),
        ", ".join(status.get("targets") or [claim["key"] for claim in fault.get("claims", ())]),
    )


def _say_verdict(verdict: str) -> str:
    outcome = verdict.partition(":")[0]
    return good(verdict) if outcome == "seen" else bad(verdict) if outcome == "not seen" else doubtful(verdict)
