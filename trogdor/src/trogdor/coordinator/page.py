"""The live page at ``/``: its files, the timeline that it shows, the schemas its form is made from, reports."""

import asyncio
import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from trogdor.coordinator.state import Task
from trogdor.coordinator.tasks import Tasks
from trogdor.http.app import Endpoint
from trogdor.timeline.collect import marks_of, of_tasks, rates_of
from trogdor.timeline.layout import Layout
from trogdor.timeline.model import Bar, Timeline
from trogdor.timeline.svg import View, draw
from trogdor.wire.errors import BadRequest, NotFound

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; script-src 'self'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere; styles within the page because SVG carries its own."""

WIDTHS = (200, 8000)
MAX_EVENTS = 5000
MANY = 5000
"""Bars from which on all of them are laid out together, and that is kept until one of them changes."""


class Board:
    """Every task as bars, each made anew only when its task has changed."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._bars: dict[int, tuple[bytes, tuple[Bar, ...]]] = {}
        self._drawing = asyncio.Lock()
        self._version = 0
        self._layout: tuple[int, str, Layout] | None = None

    def changed(self) -> list[tuple[int, str, bytes]]:
        """The tasks whose bars are out of date. Forgets those that are gone. On the event loop: quick."""
        current = {task.seq: task for task in _leaves(self._tasks.sorted())}
        for gone in self._bars.keys() - current.keys():
            del self._bars[gone]
            self._version += 1
        shown = ((seq, task.id, task.shown()) for seq, task in current.items())
        return [each for each in shown if self._bars.get(each[0], (b"",))[0] is not each[2]]

    async def bars(self) -> list[Bar]:
        """The bars of all tasks, as they are now."""
        changed = self.changed()
        if changed:
            self._version += 1
            self._bars.update(await asyncio.to_thread(self._made, changed))
        return [bar for _, bars in self._bars.values() for bar in bars]

    def _made(self, changed: list[tuple[int, str, bytes]]) -> dict[int, tuple[bytes, tuple[Bar, ...]]]:
        topology = self._tasks.topology
        return {
            seq: (shown, of_tasks({task_id: json.loads(shown)}, [], topology).bars) for seq, task_id, shown in changed
        }

    async def draw(self, view: View, words: str) -> str:
        """The SVG of what a view shows, of the bars in which ``words`` occur."""
        async with self._drawing:
            bars = await self.bars()
            now_ms = float(self._tasks.clock.wall_ms())
            events = await self._tasks.events.after(max(0, self._tasks.events.last - MAX_EVENTS), MAX_EVENTS)
            return await asyncio.to_thread(self._drawn, bars, events, now_ms, view, words.lower())

    def _drawn(self, bars: list[Bar], events: list[dict[str, Any]], now_ms: float, view: View, words: str) -> str:
        if words:
            bars = [bar for bar in bars if words in f"{bar.node} {bar.what} {bar.task} {bar.outcome}".lower()]
        begin_ms, end_ms = view.begin_ms or 0.0, view.end_ms or now_ms
        fits = [bar for bar in bars if bar.first_ms < end_ms and bar.last_ms(now_ms) > begin_ms]
        nodes = tuple(self._tasks.topology.agents())
        timeline = Timeline(nodes, tuple(fits), marks_of(events), rates_of(events), now_ms, "Live timeline")
        if len(fits) < MANY:
            return draw(timeline, view, Layout(timeline))
        return draw(timeline, view, self._layout_of(Timeline(nodes, tuple(bars), now_ms=now_ms), words))

    def _layout_of(self, timeline: Timeline, words: str) -> Layout:
        if self._layout is None or self._layout[:2] != (self._version, words):
            self._layout = (self._version, words, Layout(timeline))
        return self._layout[2]

    async def span(self) -> tuple[float, float]:
        """From the first moment of any task to the last, in ms since the epoch."""
        timeline = Timeline((), tuple(await self.bars()), now_ms=float(self._tasks.clock.wall_ms()))
        return timeline.begin_ms, timeline.end_ms


def _leaves(tasks: Iterable[Task]) -> Iterable[Task]:
    for task in tasks:
        if task.children is None:
            yield task
        else:
            yield from task.children


class Page:
    """What each of the page's routes does."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._board = Board(tasks)
        self._specs: list[dict[str, Any]] | None = None

    def endpoints(self) -> list[Endpoint]:
        """The table."""
        window = {"begin": "From when, in ms.", "end": "To when.", "width": "In pixels.", "filter": "Only such bars."}
        several = {"taskId": "The task; several may be given."}
        return [
            Endpoint("GET", "/", self.index, "The live page."),
            Endpoint("GET", "/page/timeline", self.timeline, "A part of the timeline, as SVG.", query=window),
            Endpoint("GET", "/page/span", self.span, "The time that all tasks take, and the last event's number."),
            Endpoint("GET", "/page/specs", self.specs, "Every spec: its schema and an example."),
            Endpoint("GET", "/page/report", self.report, "A report on tasks, as one HTML file.", query=several),
            Endpoint("GET", "/page/{name}", self.file, "A file of the page."),
        ]

    async def index(self, _request: Request, _body: None) -> Response:
        return _file("index.html")

    async def file(self, request: Request, _body: None) -> Response:
        return _file(request.path_params["name"])

    async def timeline(self, request: Request, _body: None) -> Response:
        low, high = WIDTHS
        width = int(min(max(_number(request, "width", 1000), low), high))
        view = View(width, _number(request, "begin", 0), _number(request, "end", self._tasks.clock.wall_ms()))
        svg = await self._board.draw(view, request.query_params.get("filter", "")[:200])
        return Response(svg, media_type=TYPES["svg"], headers={"Cache-Control": "no-store"})

    async def span(self, _request: Request, _body: None) -> Any:
        begin_ms, end_ms = await self._board.span()
        now_ms = self._tasks.clock.wall_ms()
        return {"beginMs": begin_ms, "endMs": end_ms, "nowMs": now_ms, "seq": self._tasks.events.last}

    async def specs(self, _request: Request, _body: None) -> Any:
        if self._specs is None:
            self._specs = await asyncio.to_thread(described_specs)
        return self._specs

    async def report(self, request: Request, _body: None) -> Response:
        from trogdor.timeline.report import report

        wanted = request.query_params.getlist("taskId")
        tasks = {task_id: json.loads(self._find(task_id).shown()) for task_id in wanted}
        if not tasks:
            raise BadRequest("taskId: which task?")
        events = await self._tasks.events.after(0, MAX_EVENTS * 2)
        now_ms = float(self._tasks.clock.wall_ms())
        html = await asyncio.to_thread(report, tasks, events, self._tasks.topology, now_ms)
        return Response(html, media_type=TYPES["html"], headers={"Content-Security-Policy": POLICY})

    def _find(self, task_id: str) -> Task:
        parent = self._tasks.by_id.get(task_id.rpartition("/")[0])
        children = {child.id: child for child in (parent.children if parent else None) or ()}
        task = self._tasks.by_id.get(task_id) or children.get(task_id)
        if task is None:
            raise NotFound(f'No task with ID "{task_id}" exists.')
        return task


def _file(name: str) -> Response:
    path = files("trogdor.coordinator") / "static" / name
    kind = TYPES.get(name.rpartition(".")[2])
    if kind is None or not path.is_file():
        raise NotFound("HTTP 404 Not Found")
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
    return Response(path.read_bytes(), media_type=kind, headers=headers)


def _number(request: Request, name: str, default: float) -> float:
    text = request.query_params.get(name, "")
    try:
        value = float(text) if text else float(default)
    except ValueError:
        raise BadRequest(f"{name}: a number is wanted, not {text[:100]!r}") from None
    if not -1e16 < value < 1e16:
        raise BadRequest(f"{name}: out of range")
    return value


def described_specs() -> list[dict[str, Any]]:
    """Every spec for the form: class, family, what it does, JSON Schema, example."""
    from trogdor.spec import REGISTRY

    return [
        {
            "class": spec.class_name,
            "family": spec.class_name.rpartition(".")[0].rpartition(".")[2],
            "summary": " ".join((spec.__doc__ or "").strip().partition("\n\n")[0].split()),
            "schema": spec.model_json_schema(by_alias=True),
            "example": spec.example,
        }
        for spec in REGISTRY
    ]
