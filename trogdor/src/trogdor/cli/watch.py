"""``trogdor watch``: the live timeline, in the terminal."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trogdor.cli.duration import parse_duration_ms
from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.report import all_events
from trogdor.cli.target import Target, coordinator

if TYPE_CHECKING:
    from rich.console import RenderableType

    from trogdor.client import Client, Task

REFRESH_S = 0.5
AHEAD = 0.15
"""How much of the width is left for what is to come."""
SHOWN = 8
MOST_EVENTS = 20_000


def command(
    *,
    span: Annotated[str, typer.Option("--span", metavar="DURATION", help="How much time is shown.")] = "2m",
    once: Annotated[bool, typer.Option("--once", help="Print it once and end.")] = False,
    target: Target = None,
) -> None:
    """Shows nodes, faults and events as they come, until Ctrl-C. Changes nothing.

    trogdor watch --span 5m
    """
    from rich.console import Console
    from rich.live import Live

    try:
        span_ms = parse_duration_ms(span)
    except ValueError as error:
        raise Failure(ExitCode.BAD_USAGE, f"--span: {error}") from None
    console = Console()
    with coordinator(target) as client:
        if once:
            console.print(shown(client, all_events(client), console.width, span_ms))
            return
        try:
            with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
                events: list[dict[str, Any]] = []
                while True:
                    events += all_events(client, int(events[-1]["seq"]) if events else 0)
                    del events[:-MOST_EVENTS]
                    live.update(shown(client, events, console.width, span_ms), refresh=True)
                    time.sleep(REFRESH_S)
        except KeyboardInterrupt:
            return


def shown(client: "Client", events: list[dict[str, Any]], width: int, span_ms: int) -> "RenderableType":
    """What the terminal shows now."""
    from rich.console import Group
    from rich.text import Text

    from trogdor.cli.schedule import coordinators_topology
    from trogdor.timeline.collect import of_tasks, rates_of
    from trogdor.timeline.text import LEGEND, draw_text

    now_ms = float(client.uptime()["nowMs"])
    end_ms = now_ms + span_ms * AHEAD
    begin_ms = end_ms - span_ms
    tasks = {
        task_id: task for task_id, task in client.tasks(last_start_ms=int(end_ms)).items() if _is_within(task, begin_ms)
    }
    late = [event for event in events if event["atMs"] >= begin_ms]
    timeline = replace(of_tasks(tasks, [], coordinators_topology(client), now_ms), rates=rates_of(late))
    lines = draw_text(timeline, max(60, width - 1), begin_ms, end_ms)
    drawing = Text("\n".join(lines[1:]))
    for fill, style in (("█", "green"), ("X", "red"), ("▒", "yellow"), ("▓", "magenta"), ("·", "dim")):
        drawing.highlight_regex(f"{fill}+", style)
    return Group(
        Text(f"{client.target}   tasks in view: {len(tasks)}   now: {AHEAD:.0%} from the right", style="bold"),
        drawing, Text(LEGEND, style="dim"), _nodes(client.nodes()), _events(events),
    )  # fmt: skip


def _is_within(task: "Task", begin_ms: float) -> bool:
    done_ms = task.get("doneMs") or 0
    return task["state"] != "DONE" or max(done_ms, 0) >= begin_ms


def _nodes(nodes: dict[str, dict[str, Any]]) -> "RenderableType":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("NODE", "AGENT", "CLOCK"):
        table.add_column(column)
    for name, node in sorted(nodes.items()):
        offset = node.get("offsetMs")
        clock = "" if offset is None else f"{offset:+.1f} ms ± {node.get('uncertaintyMs') or 0:.1f}"
        table.add_row(name, "[green]up[/]" if node.get("up") else "[red]down[/]", clock)
    return table


def _events(events: list[dict[str, Any]]) -> "RenderableType":
    from rich.text import Text

    from trogdor.cli.output import clock
    from trogdor.wire.event import words_of

    told = [event for event in events if event["type"] != "sample"]
    return Text("\n".join(f"{clock(event['atMs'])}  {words_of(event)}" for event in told[-SHOWN:]))
