"""A report on tasks as one HTML file: timeline, asked against actual, workloads around each fault, what was clean."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from statistics import quantiles
from typing import Any

from trogdor import __version__
from trogdor.spec.schedule import drawn_by_json
from trogdor.timeline.collect import of_tasks
from trogdor.timeline.layout import Layout
from trogdor.timeline.model import BAD, Bar, Timeline
from trogdor.timeline.samples import EVERY_MS
from trogdor.timeline.svg import View, draw
from trogdor.topology import Topology

Json = dict[str, Any]

WIDTH = 1200
AROUND_MS = 5000
"""How much before and after a fault a workload's figures are taken from, at most."""
MAX_ROWS = 5000
UNITS = {"/s": "a second", "ms": "mean latency, ms"}


def report(tasks: Mapping[str, Any], events: Iterable[Json], topology: Topology, now_ms: float, title: str = "") -> str:
    """The HTML of a report on these tasks. Self-contained: no address outside of it, no script."""
    words = title or f"Report on {', '.join(list(tasks)[:3])}{' …' if len(tasks) > 3 else ''}"
    running = any(task.get("state") != "DONE" for task in tasks.values())
    begin_ms, end_ms = around(tasks)
    kept = [event for event in events if begin_ms <= event.get("atMs", 0) <= end_ms]
    timeline = of_tasks(tasks, kept, topology, now_ms if running else None, words)
    sections = [
        _head(words, tasks, timeline, now_ms),
        f'<h2>Timeline</h2><div class="wide">{draw(timeline, View(WIDTH), Layout(timeline))}</div>',
        _asked_against_actual(timeline),
        _workloads(timeline),
        _clean(timeline),
        _specs(tasks),
    ]
    body = "".join(section for section in sections if section)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(words)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><style>{STYLE}</style></head><body>{body}</body></html>'
    )


def around(tasks: Mapping[str, Any]) -> tuple[float, float]:
    """The time that the tasks took, a little before and after."""
    begin_ms = min((task["spec"].get("startMs", 0) for task in tasks.values()), default=0) - AROUND_MS
    ends = [
        max(task.get("doneMs") or 0, task["spec"].get("startMs", 0) + task["spec"].get("durationMs", 0))
        for task in tasks.values()
    ]
    return begin_ms, max(ends, default=0) + AROUND_MS


def _head(title: str, tasks: Mapping[str, Any], timeline: Timeline, now_ms: float) -> str:
    seeds = [f"{said} ({task_id})" for task_id, task in tasks.items() if (said := drawn_by_json(task["spec"]))]
    errors = [f"{task_id}: {task['error']}" for task_id, task in tasks.items() if task.get("error")]
    bad = [mark.text for mark in timeline.marks if mark.bad]
    when = datetime.fromtimestamp(now_ms / 1000, UTC)
    verdict = "".join(f'<p class="bad">{escape(line)}</p>' for line in [*errors, *bad])
    return (
        f"<h1>{escape(title)}</h1><p>{escape('; '.join(seeds) + '. ' if seeds else '')}{escape(timeline.summary())} "
        f"Written {when:%Y-%m-%d %H:%M:%S} UTC by Trogdor {__version__}.</p>{verdict or _well(timeline)}"
    )


def _well(timeline: Timeline) -> str:
    seen = sum(bar.outcome == "seen" for bar in timeline.bars)
    unsure = sum(bar.outcome == "unverified" for bar in timeline.bars)
    return f'<p class="good">No error; faults seen: {seen}{f", not verified: {unsure}" if unsure else ""}.</p>'


def _asked_against_actual(timeline: Timeline) -> str:
    bars = sorted(timeline.bars, key=lambda bar: (bar.asked_start_ms, bar.task, bar.node))
    rows = [_row(bar, timeline.begin_ms) for bar in bars[:MAX_ROWS]]
    late = [bar.start_ms - bar.asked_start_ms for bar in bars if bar.start_ms is not None]
    healed = [bar.end_ms - bar.asked_end_ms for bar in bars if bar.end_ms is not None and _ran_its_time(bar)]
    figures = [f"{name}: {_spread(values)}" for name, values in (("late", late), ("healed late", healed)) if values]
    head = ("Task", "What", "Node", "Asked at", "for", "Began", "Ended", "Outcome")
    cut = f"<p>The first {MAX_ROWS} of {len(bars)}.</p>" if len(bars) > MAX_ROWS else ""
    return f"<h2>Asked against actual</h2><p>{escape('; '.join(figures))}</p>{_table(head, rows)}{cut}"


def _row(bar: Bar, begin_ms: float) -> list[str]:
    began = "" if bar.start_ms is None else f"{bar.start_ms - bar.asked_start_ms:+.1f} ms"
    ended = _ended(bar)
    kind = "bad" if bar.outcome in BAD else "unsure" if bar.outcome == "unverified" else ""
    outcome = f"{bar.outcome}{f': {bar.note}' if bar.note else ''}"
    cells = [
        bar.task, bar.what, bar.node, f"{(bar.asked_start_ms - begin_ms) / 1000:.3f} s",
        f"{(bar.asked_end_ms - bar.asked_start_ms) / 1000:.3f} s", began, ended,
    ]  # fmt: skip
    return [*map(escape, cells), f'<span class="{kind}">{escape(outcome)}</span>']


def _ended(bar: Bar) -> str:
    if bar.end_ms is None or bar.start_ms is None or not bar.seen_gone:
        return ""
    if _ran_its_time(bar):
        return f"{bar.end_ms - bar.asked_end_ms:+.1f} ms"
    return f"{bar.undone_by or 'ended'} after {(bar.end_ms - bar.start_ms) / 1000:.3f} s"


def _ran_its_time(bar: Bar) -> bool:
    """Whether it was seen to end, and by its own time: for all else there is no lateness."""
    return bar.seen_gone and bar.undone_by in ("", "end", "kernel", "warden") and (bar.end_ms or 0) >= bar.asked_end_ms


def _spread(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.1f} ms"
    cuts = quantiles(values, n=100, method="inclusive")
    return f"p50 {cuts[49]:.1f}, p99 {cuts[98]:.1f}, most {max(values):.1f} ms"


def _workloads(timeline: Timeline) -> str:
    faults = [bar for bar in timeline.bars if bar.outcome in ("seen", "unverified") and bar.start_ms is not None]
    spans = {(bar.task, bar.what, bar.start_ms, bar.end_ms or timeline.end_ms) for bar in faults}
    rows = []
    for task, what, start_ms, end_ms in sorted(spans, key=lambda span: span[2] or 0)[:MAX_ROWS]:
        assert start_ms is not None
        for rate in timeline.rates:
            parts = [(start_ms - AROUND_MS, start_ms), (start_ms, end_ms), (end_ms, end_ms + AROUND_MS)]
            found = [rate.within(*part) for part in parts]
            if any(found):
                digits = 0 if rate.unit == "/s" else 1
                cells = (_percentiles(values, digits) for values in found)
                rows.append([escape(f"{what}, {task}"), escape(rate.name), UNITS[rate.unit], *cells])
    if not rows:
        return ""
    head = ("Fault", "Workload", "Measured", "Before", "During", "After")
    said = (
        f"p5 / p50 / p95 of samples about {EVERY_MS / 1000:g} s apart; at most {AROUND_MS / 1000:g} s before and after."
    )
    return f"<h2>Workloads around each fault</h2><p>{said}</p>{_table(head, rows)}"


def _percentiles(values: list[float], digits: int) -> str:
    if len(values) < 2:
        return f"{values[0]:,.{digits}f}" if values else "–"
    cuts = quantiles(values, n=20, method="inclusive")
    return " / ".join(f"{cuts[at]:,.{digits}f}" for at in (0, 9, 18))


def _clean(timeline: Timeline) -> str:
    """What was looked at after the end of each fault, and what undid it."""
    rows = []
    for bar in timeline.bars:
        if bar.start_ms is not None and bar.undone_by:
            gone = "gone" if bar.seen_gone else '<span class="unsure">not looked at: something else held it</span>'
            cells = [bar.task, bar.what, bar.node, bar.undone_by, ", ".join(bar.via)]
            rows.append([*map(escape, cells), gone])
    if not rows:
        return ""
    head = ("Task", "What", "Node", "Undone by", "Via", "After the end")
    return f"<h2>What was checked clean</h2>{_table(head, rows[:MAX_ROWS])}"


def _specs(tasks: Mapping[str, Any]) -> str:
    shown = "".join(_spec(task_id, json.dumps(task["spec"], indent=1)) for task_id, task in tasks.items())
    return f"<h2>Specs</h2>{shown}"


def _spec(task_id: str, text: str) -> str:
    return f"<details><summary>{escape(task_id)}</summary><pre>{escape(text)}</pre></details>"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Cells are HTML."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


STYLE = (
    ":root{--bg:#fff;--fg:#1f2328;--line:#d0d7de;--bad:#cf222e;--good:#1a7f37;--unsure:#9a6700}"
    "@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--line:#30363d;--bad:#f85149;--good:#3fb950;"
    "--unsure:#d29922}}body{margin:1rem auto;max-width:78rem;padding:0 1rem;background:var(--bg);color:var(--fg);"
    "font:15px/1.5 system-ui,sans-serif}.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}"
    "th,td{text-align:left;padding:.2rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}"
    "td:not(:last-child){white-space:nowrap}"
    ".bad{color:var(--bad)}.good{color:var(--good)}.unsure{color:var(--unsure)}pre{overflow:auto}"
)
