"""The live page at ``/``: its files, the schemas its form is made from, reports."""

import asyncio
import json
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from trogdor.coordinator.state import Task
from trogdor.coordinator.tasks import Tasks
from trogdor.http.app import Endpoint
from trogdor.http.message import Request, Response
from trogdor.wire.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from trogdor.coordinator.board import Board

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; script-src 'self'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere; styles within the page because SVG carries its own."""

WIDTHS = (200, 8000)
EVENTS_BEFORE = 1000
"""A report looks at so many events before its tasks' first, for marks and rates from just before it."""


class Page:
    """What each of the page's routes does."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._specs: list[dict[str, Any]] | None = None

    @cached_property
    def _board(self) -> "Board":
        from trogdor.coordinator.board import Board  # when someone looks at it

        return Board(self._tasks)

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
        begin_ms, end_ms = _number(request, "begin", 0), _number(request, "end", self._tasks.clock.wall_ms())
        svg = await self._board.draw(width, begin_ms, end_ms, request.param("filter")[:200])
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

        wanted = request.params("taskId")
        tasks = {task_id: json.loads(self._find(task_id).shown()) for task_id in wanted}
        if not tasks:
            raise BadRequest("taskId: which task?")
        first = min([await self._tasks.events.first_of(task_id) for task_id in tasks])
        events = await self._tasks.events.since(first - EVENTS_BEFORE)
        now_ms = float(self._tasks.clock.wall_ms())
        html = await asyncio.to_thread(report, tasks, events, self._tasks.topology, now_ms)
        return Response(html, media_type=TYPES["html"], headers={"Content-Security-Policy": POLICY})

    def _find(self, task_id: str) -> Task:
        """A task, or a composite's. Raises NotFound."""
        if (task := self._tasks.by_id.get(task_id)) is not None:
            return task
        parent, slash, _ = task_id.rpartition("/")
        siblings = (self._find(parent).children if slash else None) or ()
        for child in siblings:
            if child.id == task_id:
                return child
        raise NotFound(f'No task with ID "{task_id}" exists.')


def _file(name: str) -> Response:
    path = files("trogdor.coordinator") / "static" / name
    kind = TYPES.get(name.rpartition(".")[2])
    if kind is None or not path.is_file():
        raise NotFound("HTTP 404 Not Found")
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
    return Response(path.read_bytes(), media_type=kind, headers=headers)


def _number(request: Request, name: str, default: float) -> float:
    text = request.param(name)
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
