"""A timeline as SVG: pure, the same for page, report and ``schedule show``; light and dark by the reader's wish."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from trogdor.timeline.layout import Cluster, Layout, Placed, clustered, narrowest_ms, say_offset, tick_ms
from trogdor.timeline.model import BAD, Bar, Mark, Outcome, Rate, Timeline

ROW, GAP, AXIS, LEFT, RIGHT, RATE = 18, 10, 40, 110, 14, 56
"""Heights and widths in pixels: a row of a lane, the space between lanes, the axis, the margins, a rate's strip."""

CHARACTER = 6.5
NARROW = 3.0
"""Bars less wide than this, in pixels, are taken together with their neighbours."""

MAX_BARS, MAX_MARKS = 1500, 500
"""Drawn each for itself in one drawing, so that a browser bears it: of more bars the shorter are taken together."""

LEGEND = (
    ("planned", "planned"), ("seen", "fault, seen"), ("unverified", "unverified"), ("bad", "did not take"),
    ("done", "not a fault"), ("outline", "asked for"),
)  # fmt: skip
"""What bars look like, by class and in words."""
KEY, KEY_ROW = 18, 18
"""The width of a legend's small bar, and the height of a legend's row."""

EXPECTED: frozenset[Outcome] = frozenset({"planned", "armed", "not seen", "failed", "unverified"})
"""Without a time seen, these are filled where they were asked for."""

STYLE = """
.tl{--bg:#fff;--fg:#1f2328;--soft:#656d76;--line:#d0d7de;--asked:#57606a;--fault:#0969da;--work:#8250df;
--bad:#cf222e;--unsure:#9a6700;--plan:#afb8c1;--rate:#1a7f37;--on:#fff;
background:var(--bg);font:12px system-ui,sans-serif}
@media(prefers-color-scheme:dark){.tl{--bg:#0d1117;--fg:#e6edf3;--soft:#9198a1;--line:#30363d;--asked:#9198a1;
--fault:#4493f8;--work:#ab7df8;--bad:#f85149;--unsure:#d29922;--plan:#484f58;--rate:#3fb950;--on:#0d1117}}
.tl text{fill:var(--fg)}.tl .soft{fill:var(--soft)}.tl .grid{stroke:var(--line);stroke-width:1}
.tl line{pointer-events:none}
.tl .lane{stroke:var(--line);stroke-width:1}
.tl .asked{fill:none;pointer-events:all;stroke:var(--asked);stroke-dasharray:3 2}
.tl .actual{fill:var(--fault)}.tl .bar.done .actual,.tl .bar.running .actual{fill:var(--work)}
.tl .bar.unverified .actual{fill:var(--unsure)}.tl .actual.guess{opacity:.5}
.tl .bar.planned .actual,.tl .bar.armed .actual{fill:var(--plan)}
.tl .bar.bad .actual{fill:url(#tl-bad)}.tl .bar.bad .asked{stroke:var(--bad);stroke-dasharray:none}
.tl .cluster{fill:var(--fault);opacity:.55}.tl .cluster.bad{fill:var(--bad)}
.tl .key{fill:none;stroke:var(--asked);stroke-dasharray:3 2}.tl .key-planned{fill:var(--plan)}
.tl .key-seen{fill:var(--fault)}.tl .key-done{fill:var(--work)}.tl .key-unverified{fill:var(--unsure)}
.tl .key-bad{fill:url(#tl-bad);stroke:var(--bad);stroke-dasharray:none}
.tl .hatch{stroke:var(--bad);stroke-width:3}.tl .hatch-ground{fill:var(--bg)}
.tl .bar text{fill:var(--on);font-size:11px;pointer-events:none}.tl .bar.planned text,.tl .bar.armed text,
.tl .bar.bad text{fill:var(--fg)}
.tl .bar text.beyond,.tl .bar.bad text,.tl .bar.unverified text{fill:var(--fg);
stroke:var(--bg);stroke-width:4px;paint-order:stroke}
.tl .mark{stroke:var(--soft);stroke-width:1.5}.tl .mark.bad{stroke:var(--bad)}
.tl .mark-text.bad{fill:var(--bad);font-weight:600}.tl .now{stroke:var(--rate);stroke-width:1.5}
.tl .rate{fill:none;stroke:var(--rate);stroke-width:1.5}.tl .took .rate{stroke:var(--work)}.tl .bar:focus{outline:none}
.tl .bar:focus .asked,.tl .bar.chosen .asked{stroke:var(--fg);stroke-width:2.5;stroke-dasharray:none}
""".replace("\n", "")


@dataclass(frozen=True)
class View:
    """Which part of the time is drawn, and how wide."""

    width: int = 1000
    begin_ms: float | None = None
    end_ms: float | None = None


@dataclass(frozen=True)
class _Scale:
    begin_ms: float
    end_ms: float
    width: float

    def x(self, at_ms: float) -> float:
        return round(LEFT + (at_ms - self.begin_ms) * self.width / (self.end_ms - self.begin_ms), 1)

    def clipped(self, begin_ms: float, end_ms: float) -> tuple[float, float]:
        """Left edge and width of a span, within what is drawn; never less than a pixel wide."""
        left = self.x(max(begin_ms, self.begin_ms))
        right = self.x(min(max(end_ms, begin_ms), self.end_ms))
        return left, round(max(right - left, 1.0), 1)


def draw(timeline: Timeline, view: View = View(), layout: Layout | None = None) -> str:
    """The SVG of a timeline, or of the part of it that a view shows. Size: O(nodes × width), not O(tasks)."""
    layout = layout or Layout(timeline)
    begin_ms = timeline.begin_ms if view.begin_ms is None else view.begin_ms
    end_ms = timeline.end_ms if view.end_ms is None else view.end_ms
    scale = _Scale(begin_ms, max(end_ms, begin_ms + 1), max(50, view.width - LEFT - RIGHT))
    parts: list[str] = []
    top = AXIS
    lanes = {node: layout.between(node, scale.begin_ms, scale.end_ms) for node in timeline.nodes}
    least_ms = NARROW * (scale.end_ms - scale.begin_ms) / scale.width
    narrow_ms = narrowest_ms(lanes.values(), least_ms, MAX_BARS)
    for node in timeline.nodes:
        parts += _lane(node, clustered(lanes[node], narrow_ms), scale, top, layout.rows[node] * ROW)
        top += layout.rows[node] * ROW + GAP
    for rate in timeline.rates:
        parts += _rate(rate, scale, top)
        top += RATE + GAP
    parts = [*_axis(timeline, scale, top), *parts, *_marks(timeline, scale, top)]
    keys, head = _legend(view.width)
    title, summary = escape(timeline.title), escape(timeline.summary())
    span = f'data-begin="{scale.begin_ms:.3f}" data-end="{scale.end_ms:.3f}" data-left="{LEFT}" data-right="{RIGHT}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="tl" viewBox="0 0 {view.width} {head + top}" '
        f'width="{view.width}" height="{head + top}" {span} role="group" aria-label="{title}. {summary}">'
        f"<title>{title}</title><desc>{summary}</desc><style>{STYLE}</style>"
        '<defs><pattern id="tl-bad" width="6" height="6" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect class="hatch-ground" width="6" height="6"/>'
        '<line class="hatch" x1="0" y1="0" x2="0" y2="6"/></pattern></defs>'
        f'{keys}<g transform="translate(0 {head})">{"".join(parts)}</g></svg>'
    )


def _legend(width: int) -> tuple[str, int]:
    """What the bars' looks mean, and how high that is: several rows where there is little width."""
    x, y, parts = 8.0, 4, []
    for kind, words in LEGEND:
        needs = KEY + 6 + CHARACTER * len(words) + 14
        if x > 8 and x + needs > width:
            x, y = 8.0, y + KEY_ROW
        parts.append(f'<rect class="key key-{kind}" x="{x}" y="{y + 1.5}" width="{KEY}" height="11"/>')
        parts.append(f'<text class="soft" x="{x + KEY + 6}" y="{y + 11}">{words}</text>')
        x += needs
    return f'<g aria-hidden="true">{"".join(parts)}</g>', y + KEY_ROW


def _lane(node: str, bars: tuple[list[Placed], list[Cluster]], scale: _Scale, top: int, height: int) -> Iterator[str]:
    wide, clusters = bars
    count = len(wide) + sum(cluster.count for cluster in clusters)
    yield f'<g role="list" aria-label="{escape(node)}: {count} in view" data-node="{escape(node)}">'
    yield f'<text x="8" y="{top + 13}">{escape(_cut(node, 15))}</text>'
    yield _line_below(scale, top + height + 5)
    for cluster in clusters:
        yield _cluster(cluster, scale, top)
    for placed in wide:
        yield _bar(placed, scale, top)
    yield "</g>"


def _line_below(scale: _Scale, y: int) -> str:
    return f'<line class="lane" x1="0" x2="{scale.x(scale.end_ms) + RIGHT}" y1="{y}" y2="{y}"/>'


def _cluster(cluster: Cluster, scale: _Scale, top: int) -> str:
    left, width = scale.clipped(cluster.begin_ms, cluster.end_ms)
    words = f"{cluster.count} short ones" if cluster.count > 1 else "a short one"
    return (
        f'<rect class="cluster{" bad" if cluster.bad else ""}" role="listitem" x="{left}" '
        f'y="{top + cluster.row * ROW + 2}" width="{max(width, 2.0)}" height="{ROW - 4}">'
        f"<title>{words}{', some did not take' if cluster.bad else ''}: zoom in</title></rect>"
    )


def _bar(placed: Placed, scale: _Scale, top: int) -> str:
    bar, y = placed.bar, top + placed.row * ROW
    left, width = scale.clipped(bar.asked_start_ms, bar.outline_end_ms)
    bad = " bad" if bar.outcome in BAD else ""
    actual, begin, end = "", left, left
    if (span := _filled(placed)) is not None:
        x, w = scale.clipped(*span)
        begin, end = x, x + w
        guess = "" if bar.start_ms is not None or bar.outcome != "unverified" else " guess"
        actual = f'<rect class="actual{guess}" x="{x}" y="{y + 3}" width="{w}" height="{ROW - 6}"/>'
    label = _label(bar.what, (begin, end, left + width), y + 13)
    words = escape(say(bar))
    return (
        f'<g class="bar {bar.outcome.replace(" ", "-")}{bad}" role="listitem" tabindex="-1" '
        f'data-task="{escape(bar.task)}" aria-label="{words}"><title>{words}</title>'
        f'<rect class="asked" x="{left}" y="{y + 1.5}" width="{width}" height="{ROW - 3}"/>{actual}{label}</g>'
    )


def _label(words: str, edges: tuple[float, float, float], y: int) -> str:
    """A bar's words within its fill, or where there is more room behind it; edges: the fill's, and the bar's right."""
    begin, end, right = edges
    inside, behind = (int((to - at) / CHARACTER) - 1 for at, to in ((begin, end), (end, right)))
    is_behind = inside < min(len(words), behind)
    room = behind if is_behind else inside
    kind = ' class="beyond"' if is_behind else ""
    x = (end if is_behind else begin) + 4
    return f'<text x="{x:g}" y="{y}"{kind}>{escape(_cut(words, room))}</text>' if room > 3 else ""


def _filled(placed: Placed) -> tuple[float, float] | None:
    bar = placed.bar
    if bar.start_ms is not None:
        return bar.start_ms, placed.seen_to_ms
    return (bar.asked_start_ms, bar.outline_end_ms) if bar.outcome in EXPECTED else None


def say(bar: Bar) -> str:
    """A bar in words."""
    parts = [f"{bar.what} on {bar.node}, task {bar.task}: {bar.outcome}"]
    parts += [bar.note] if bar.note else []
    parts.append(f"asked for {_seconds(bar.asked_end_ms - bar.asked_start_ms)}")
    if bar.start_ms is not None:
        parts.append(f"late by {bar.start_ms - bar.asked_start_ms:.1f} ms")
        if bar.end_ms is not None and bar.seen_gone:
            parts.append(f"took {_seconds(bar.end_ms - bar.start_ms)}")
    parts += ["stopped"] if bar.stopped_ms is not None else []
    parts += [bar.detail] if bar.detail else []
    return "; ".join(parts)


def _seconds(ms: float) -> str:
    return f"{ms / 1000:.3f}".rstrip("0").rstrip(".") + " s"


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(1, room - 1)] + "…"


def _axis(timeline: Timeline, scale: _Scale, bottom: int) -> Iterator[str]:
    step = tick_ms(scale.end_ms - scale.begin_ms, scale.width)
    yield '<g aria-hidden="true">'
    yield "" if timeline.relative else f'<text class="soft" x="8" y="{AXIS - 12}">UTC</text>'
    at_ms = -(-scale.begin_ms // step) * step
    while at_ms <= scale.end_ms:
        x = scale.x(at_ms)
        words = say_offset(at_ms, step) if timeline.relative else _say_clock(at_ms, step)
        yield f'<line class="grid" x1="{x}" x2="{x}" y1="{AXIS - 8}" y2="{bottom}"/>'
        if x + CHARACTER * len(words) / 2 <= LEFT + scale.width + RIGHT:
            yield f'<text class="soft" x="{x}" y="{AXIS - 12}" text-anchor="middle">{words}</text>'
        at_ms += step
    yield "</g>"


def _say_clock(at_ms: float, step_ms: float) -> str:
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    if step_ms >= 86_400_000:
        return f"{at:%Y-%m-%d}"
    text = f"{at:%H:%M:%S}"
    return f"{text}.{round(at_ms) % 1000:03}" if step_ms < 1000 else text


def _marks(timeline: Timeline, scale: _Scale, bottom: int) -> Iterator[str]:
    seen = [mark for mark in timeline.marks if scale.begin_ms <= mark.at_ms <= scale.end_ms]
    taken: list[tuple[float, float]] = []
    for mark in sorted(seen[:MAX_MARKS], key=lambda mark: not mark.bad):  # what went wrong is named first
        x, bad = scale.x(mark.at_ms), " bad" if mark.bad else ""
        yield f'<g role="note" aria-label="mark: {escape(mark.text)}"><title>{escape(mark.text)}</title>'
        yield f'<line class="mark{bad}" x1="{x}" x2="{x}" y1="14" y2="{bottom}"/>'
        yield f"{_mark_text(mark, x, bad, taken, LEFT + scale.width + RIGHT)}</g>"
    if timeline.now_ms is not None and scale.begin_ms <= timeline.now_ms <= scale.end_ms:
        x = scale.x(timeline.now_ms)
        yield f'<line class="now" x1="{x}" x2="{x}" y1="{AXIS - 8}" y2="{bottom}"><title>now</title></line>'


def _mark_text(mark: Mark, x: float, bad: str, taken: list[tuple[float, float]], right: float) -> str:
    """A mark's words beside its line, where they fit and cover no other's; else its title alone says them."""
    words = _cut(mark.text, 40)
    width = CHARACTER * len(words) * (1.1 if mark.bad else 1.0)
    for begin, end, anchor in ((x + 3, x + 3 + width, "start"), (x - 3 - width, x - 3, "end")):
        if begin >= 0 and end <= right and not any(begin < other[1] and other[0] < end for other in taken):
            taken.append((begin, end))
            at = begin if anchor == "start" else end
            return f'<text class="mark-text{bad}" x="{at}" y="12" text-anchor="{anchor}">{escape(words)}</text>'
    return ""


def _rate(rate: Rate, scale: _Scale, top: int) -> Iterator[str]:
    by_pixel: dict[int, float] = {}
    for at_ms, value in rate.points:
        if scale.begin_ms <= at_ms <= scale.end_ms:
            x = int(scale.x(at_ms))
            by_pixel[x] = max(value, by_pixel.get(x, 0.0))
    most = max(by_pixel.values(), default=0.0)
    shown, kind = (f"{most:,.0f} a second", "") if rate.unit == "/s" else (f"{most:,.1f} ms", " took")
    words = f"{rate.name}: at most {shown}"
    yield f'<g role="img" class="line{kind}" aria-label="{escape(words)}"><title>{escape(words)}</title>'
    yield f'<text x="8" y="{top + 14}">{escape(_cut(rate.name, 15))}</text>'
    yield f'<text class="soft" x="8" y="{top + 30}">≤ {shown}</text>'
    yield _line_below(scale, top + RATE + 5)
    if most > 0:
        line = " ".join(f"{x},{round(top + RATE - (RATE - 4) * value / most, 1)}" for x, value in by_pixel.items())
        yield f'<polyline class="rate" points="{line}"/>'
    yield "</g>"
