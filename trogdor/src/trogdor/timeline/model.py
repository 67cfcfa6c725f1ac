"""What a timeline shows."""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["planned", "armed", "seen", "not seen", "unverified", "running", "done", "failed"]
"""Of one task on one node: a fault's verdict, or how far anything else has come; ``failed`` is an error."""

BAD: frozenset[Outcome] = frozenset({"not seen", "failed"})


@dataclass(frozen=True, slots=True)
class Bar:
    """One task on one node. Times are in ms by the coordinator's clock."""

    task: str
    node: str
    what: str
    """The spec's class in short: ``NetworkPartition``."""
    asked_start_ms: float
    asked_end_ms: float
    start_ms: float | None = None
    """When it was seen to begin; None: it has not, as far as is known."""
    end_ms: float | None = None
    """When it was seen to be gone; None with a start: it goes on."""
    outcome: Outcome = "planned"
    detail: str = ""
    """What was asked, beyond ``what``."""
    note: str = ""
    """Why the outcome is what it is: the verdict's words, or the error."""
    seen_gone: bool = True
    """Whether ``end_ms`` is when it was seen to be gone, not just when its task was over."""
    undone_by: str = ""
    via: tuple[str, ...] = ()
    stopped_ms: float | None = None
    """When its task was over, if that was because somebody stopped it."""

    @property
    def first_ms(self) -> float:
        """The earliest moment at which there is something to draw."""
        return self.asked_start_ms if self.start_ms is None else min(self.asked_start_ms, self.start_ms)

    @property
    def outline_end_ms(self) -> float:
        """Until when it was asked for: a stop asks for no more."""
        if self.stopped_ms is None:
            return self.asked_end_ms
        return min(self.asked_end_ms, max(self.stopped_ms, self.asked_start_ms))

    def last_ms(self, now_ms: float) -> float:
        """The latest moment at which there is something to draw."""
        actual = self.first_ms if self.start_ms is None else now_ms if self.end_ms is None else self.end_ms
        return max(self.outline_end_ms, actual)


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment that concerns all nodes: a user's mark, a check that failed, a node that went away."""

    at_ms: float
    text: str
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a workload went, or how long what it did took: (ms, value), in order of time."""

    name: str
    points: tuple[tuple[float, float], ...]
    unit: Literal["/s", "ms"] = "/s"

    def within(self, begin_ms: float, end_ms: float) -> list[float]:
        """The values of the time after ``begin_ms`` up to ``end_ms``."""
        first = bisect_right(self.points, begin_ms, key=lambda point: point[0])
        last = bisect_right(self.points, end_ms, key=lambda point: point[0])
        return [value for _, value in self.points[first:last]]


@dataclass(frozen=True)
class Timeline:
    """Lanes, bars, marks and rates."""

    nodes: tuple[str, ...]
    bars: tuple[Bar, ...] = ()
    marks: tuple[Mark, ...] = ()
    rates: tuple[Rate, ...] = ()
    now_ms: float | None = None
    """The present, where the timeline is still going on."""
    title: str = "Timeline"
    relative: bool = field(default=False, kw_only=True)
    """Whether times count from 0, as a schedule's do before it is run, instead of from the epoch."""

    @property
    def begin_ms(self) -> float:
        """The earliest moment of anything."""
        moments = [bar.first_ms for bar in self.bars] + [mark.at_ms for mark in self.marks]
        moments += [rate.points[0][0] for rate in self.rates if rate.points]
        return 0.0 if self.relative else min(moments, default=self.now_ms or 0.0)

    @property
    def end_ms(self) -> float:
        """The latest moment of anything; at least 1 ms after the begin."""
        now_ms = self.now_ms if self.now_ms is not None else self.begin_ms
        moments = [bar.last_ms(now_ms) for bar in self.bars] + [mark.at_ms for mark in self.marks]
        moments += [rate.points[-1][0] for rate in self.rates if rate.points]
        return max(max(moments, default=now_ms), self.begin_ms + 1)

    def summary(self) -> str:
        """What one who cannot see the drawing is told."""
        bad = sum(bar.outcome in BAD for bar in self.bars)
        unsure = sum(bar.outcome == "unverified" for bar in self.bars)
        parts = [f"{_count(len(self.nodes), 'node')}, {_count(len(self.bars), 'bar')}"]
        parts += [f"{bad} did not take or failed"] if bad else []
        parts += [f"{unsure} unverified"] if unsure else []
        parts += [f"{_count(len(self.marks), 'mark')}"] if self.marks else []
        return ", ".join(parts) + "."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
