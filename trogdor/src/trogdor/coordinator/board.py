"""The timeline of the live page: every task as bars, drawn as far as it is looked at."""

import asyncio
import json
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from trogdor.coordinator.state import Task
from trogdor.coordinator.tasks import Tasks
from trogdor.timeline.collect import marks_of, of_tasks
from trogdor.timeline.layout import Layout
from trogdor.timeline.model import Bar, Timeline
from trogdor.timeline.samples import Sample, rates
from trogdor.timeline.svg import View, draw

MOST_RATES = 24
"""Workloads drawn as lines at once."""
MANY = 5000
"""Bars in view from which on those of all tasks are laid out together, and that is kept until one of them changes."""


class Beside(NamedTuple):
    """What is drawn beside the bars: events that are marks, and workloads' samples by name."""

    marks: list[dict[str, Any]]
    tracks: list[tuple[str, list[Sample]]]


class Kept(NamedTuple):
    """A task's bars, what they were made from, and the time that they take: for ever, while one of them goes on."""

    shown: bytes
    bars: tuple[Bar, ...]
    first_ms: float
    last_ms: float

    def until_ms(self, now_ms: float) -> float:
        """The latest moment at which there is something to draw."""
        return self.last_ms if self.last_ms < math.inf else max(bar.last_ms(now_ms) for bar in self.bars)


class Board:
    """Every task as bars, each made anew only when its task has changed."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._kept: dict[int, Kept] = {}
        self._drawing = asyncio.Lock()
        self._version = 0
        self._layout: tuple[int, str, Layout] | None = None

    def changed(self) -> list[tuple[int, str, bytes]]:
        """The tasks whose bars are out of date. Forgets those that are gone. On the event loop: quick."""
        current = {task.seq: task for task in _leaves(self._tasks.by_id.values())}
        for gone in self._kept.keys() - current.keys():
            del self._kept[gone]
            self._version += 1
        shown = ((seq, task.id, task.shown()) for seq, task in current.items())
        return [each for each in shown if (kept := self._kept.get(each[0])) is None or kept.shown is not each[2]]

    async def update(self) -> None:
        """Makes the bars of all tasks as they are now."""
        changed = self.changed()
        if changed:
            self._version += 1
            self._kept.update(await asyncio.to_thread(self._made, changed))

    def _made(self, changed: list[tuple[int, str, bytes]]) -> dict[int, Kept]:
        topology = self._tasks.topology
        return {
            seq: _kept(shown, of_tasks({task_id: json.loads(shown)}, [], topology).bars)
            for seq, task_id, shown in changed
        }

    def between(self, begin_ms: float, end_ms: float) -> list[Bar]:
        """The bars of all tasks that take any of this time."""
        found = (kept.bars for kept in self._kept.values() if kept.first_ms < end_ms and kept.last_ms > begin_ms)
        return [bar for bars in found for bar in bars]

    async def draw(self, width: int, begin_ms: float, end_ms: float, words: str) -> str:
        """The SVG of a part of the timeline, ``width`` pixels wide, of the bars in which ``words`` occur."""
        view = View(width, begin_ms, end_ms)
        async with self._drawing:
            await self.update()
            bars = self.between(begin_ms, end_ms)
            if len(bars) >= MANY:
                bars = self.between(-math.inf, math.inf)
            now_ms = float(self._tasks.clock.wall_ms())
            beside = Beside(list(self._tasks.events.marks), self._tracks(view, words.lower()))
            return await asyncio.to_thread(self._drawn, bars, beside, now_ms, view, words.lower())

    def _tracks(self, view: View, words: str) -> list[tuple[str, list[Sample]]]:
        """The samples of the workloads that were under way in the time looked at."""
        tracks = {
            f"{task.id} {worker.node}": worker.track
            for task in _leaves(self._tasks.by_id.values())
            if task.started_ms >= 0
            for worker in task.workers.values()
            if worker.track is not None and worker.track.overlaps(view.begin_ms or 0.0, view.end_ms or math.inf)
        }
        fits = sorted(name for name in tracks if words in name.lower())
        return [(name, list(tracks[name])) for name in fits[:MOST_RATES]]

    def _drawn(self, bars: list[Bar], beside: Beside, now_ms: float, view: View, words: str) -> str:
        if words:
            bars = [bar for bar in bars if words in f"{bar.node} {bar.what} {bar.task} {bar.outcome}".lower()]
        begin_ms, end_ms = view.begin_ms or 0.0, view.end_ms or now_ms
        fits = [bar for bar in bars if bar.first_ms < end_ms and bar.last_ms(now_ms) > begin_ms]
        nodes = tuple(self._tasks.topology.agents())
        lines = tuple(rate for name, samples in beside.tracks for rate in rates(name, samples))
        timeline = Timeline(nodes, tuple(fits), marks_of(beside.marks), lines, now_ms, "Live timeline")
        if len(fits) < MANY:
            return draw(timeline, view, Layout(timeline))
        return draw(timeline, view, self._layout_of(Timeline(nodes, tuple(bars), now_ms=now_ms), words))

    def _layout_of(self, timeline: Timeline, words: str) -> Layout:
        if self._layout is None or self._layout[:2] != (self._version, words):
            self._layout = (self._version, words, Layout(timeline))
        return self._layout[2]

    async def span(self) -> tuple[float, float]:
        """From the first moment of any task to the last, in ms since the epoch."""
        await self.update()
        now_ms = float(self._tasks.clock.wall_ms())
        begin_ms = min((kept.first_ms for kept in self._kept.values() if kept.bars), default=now_ms)
        end_ms = max((kept.until_ms(now_ms) for kept in self._kept.values() if kept.bars), default=now_ms)
        return begin_ms, max(end_ms, begin_ms + 1)


def _kept(shown: bytes, bars: tuple[Bar, ...]) -> Kept:
    lasts = (math.inf if bar.start_ms is not None and bar.end_ms is None else bar.last_ms(0.0) for bar in bars)
    return Kept(shown, bars, min((bar.first_ms for bar in bars), default=math.inf), max(lasts, default=-math.inf))


def _leaves(tasks: Iterable[Task]) -> Iterable[Task]:
    for task in tasks:
        if task.children is None:
            yield task
        else:
            yield from _leaves(task.children)
