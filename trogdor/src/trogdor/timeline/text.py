"""A timeline in characters, for terminals: pure."""

from bisect import bisect_left

from trogdor.timeline.layout import Layout, say_offset, tick_ms
from trogdor.timeline.model import Bar, Outcome, Rate, Timeline

FILL: dict[Outcome, str] = {
    "planned": "░", "armed": "░", "seen": "█", "unverified": "▒", "not seen": "X", "failed": "X", "running": "▓",
    "done": "▓",
}  # fmt: skip
LINE = "▁▂▃▄▅▆▇"
LEGEND = "░ planned  █ seen  ▒ unverified  X did not take  ▓ not a fault"
MAX_LABEL = 16
LEAST_LABEL = 6


def draw_text(
    timeline: Timeline, width: int = 100, begin_ms: float | None = None, end_ms: float | None = None
) -> list[str]:
    """The timeline as lines of ``width`` characters: the axis, each node's rows, a line for each workload.

    What overlaps has more rows.
    """
    begin_ms = timeline.begin_ms if begin_ms is None else begin_ms
    end_ms = max(timeline.end_ms if end_ms is None else end_ms, begin_ms + 1)
    names = [*timeline.nodes, *(rate.name for rate in timeline.rates)]
    label = min(MAX_LABEL, max(map(len, names), default=0)) + 2
    columns = max(10, width - label)
    per_column = (end_ms - begin_ms) / columns
    lines = [" " * label + _axis(begin_ms, end_ms, columns, timeline.relative)]
    layout = Layout(timeline)
    for node in timeline.nodes:
        rows = [["·"] * columns for _ in range(layout.rows[node])]
        for one in layout.between(node, begin_ms, end_ms):
            first = max(0, int((one.bar.first_ms - begin_ms) / per_column))
            last = min(columns, max(first + 1, int((one.last_ms - begin_ms) / per_column)))
            rows[one.row][first:last] = _filled(one.bar, last - first)
        for number, row in enumerate(rows):
            name = node[: label - 2].ljust(label) if number == 0 else " " * label
            lines.append(name + "".join(row))
    for rate in timeline.rates:
        lines.append(_cut(rate.name, label - 2).ljust(label) + _line(rate, begin_ms, per_column, columns))
    return lines


def _line(rate: Rate, begin_ms: float, per_column: float, columns: int) -> str:
    """A workload's line, and over its end the latest value; each column shows the sample that it is part of."""
    moments = [at_ms for at_ms, _ in rate.points]
    shown = rate.within(begin_ms, begin_ms + per_column * columns)
    most = max(shown, default=0.0)
    line = []
    for column in range(columns):
        at = bisect_left(moments, begin_ms + column * per_column)
        is_known = 0 < at < len(moments) and most > 0
        line.append(LINE[round((len(LINE) - 1) * min(rate.points[at][1] / most, 1.0))] if is_known else " ")
    words = f" {shown[-1]:,.{0 if rate.unit == '/s' else 1}f} {rate.unit}" if shown else ""
    return "".join(line)[: columns - len(words)] + words


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def _filled(bar: Bar, width: int) -> list[str]:
    fill = FILL[bar.outcome]
    words = bar.what[: width - 2] if width >= LEAST_LABEL else ""
    return list((fill + words + fill * width)[:width])


def _axis(begin_ms: float, end_ms: float, columns: int, relative: bool) -> str:
    step = tick_ms(end_ms - begin_ms, columns, apart=12)
    axis = [" "] * columns
    at_ms = 0.0
    while begin_ms + at_ms <= end_ms:
        column = int(at_ms * columns / (end_ms - begin_ms))
        words = say_offset(begin_ms + at_ms if relative else at_ms, step)
        if column + len(words) <= columns:
            axis[column : column + len(words)] = words
        at_ms += step
    return "".join(axis)
