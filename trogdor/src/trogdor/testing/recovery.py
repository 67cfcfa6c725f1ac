"""``recovers``: a check that is to hold again within some time of the fault's beginning or end."""

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from trogdor.cli.duration import parse_duration_ms
from trogdor.testing.injection import Injection

POLL_S = 0.05


class DidNotRecover(AssertionError):
    """The system failed its check: the fault took, and healed where it was to, and the system did not come back."""


@dataclass
class Story:
    """What happened in one test: its faults, and how long each recovery took."""

    injections: list[Injection] = field(default_factory=list)
    recoveries: list[tuple[str, float]] = field(default_factory=list)
    schedules: list[str] = field(default_factory=list)
    """Seed and format version of each schedule that was run."""
    clock_offset_ms: float = 0.0
    """What to add to this process's wall clock to get the coordinator's."""

    def changed(self, injection: Injection) -> None:
        """A fault was seen to begin or to end."""
        if injection not in self.injections:
            self.injections.append(injection)

    def since_ms(self) -> float | None:
        """The last instant at which a fault was seen to begin or end, in ms of the coordinator's clock."""
        seen = [each for injection in self.injections for each in (injection.seen, injection.healed) if each]
        return max((sighting.at_ms for sighting in seen), default=None)

    def timeline(self) -> list[str]:
        """One line a schedule, a fault and a recovery, times in s from the first fault."""
        zero = min((injection.seen.at_ms for injection in self.injections if injection.seen), default=0.0)
        lines = [f"schedule: {drawn}" for drawn in self.schedules]
        lines += [_line(injection, zero) for injection in self.injections]
        return lines + [f"recovered after {took_ms:.0f} ms: {what}" for what, took_ms in self.recoveries]


def _line(injection: Injection, zero: float) -> str:
    times = [
        f"{word} at {(sighting.at_ms - zero) / 1000:.3f} s ({sighting.late_ms:.1f} ms late)"
        if sighting
        else f"not {word}"
        for word, sighting in (("seen", injection.seen), ("healed", injection.healed))
    ]
    return f"{injection}: {', '.join(times)}"


current: ContextVar[Story | None] = ContextVar("trogdor_story", default=None)
"""The story of the test that runs."""


def recovers(check: Callable[[], Any], within: str | float, what: str = "") -> float:
    """Polls ``check`` until it answers something true; its exceptions count as not yet.

    ``within`` (``"5s"``, or seconds) is counted from the instant at which the test's last fault was seen to begin or to
    end; without a fault, from now. Answers how long it took, in ms, counted likewise; the report and JUnit get it too.
    Raises DidNotRecover with the faults' timeline and the last answer.
    """
    limit_ms = parse_duration_ms(within) if isinstance(within, str) else within * 1000
    story = current.get() or Story()
    began_ms = time.time() * 1000 + story.clock_offset_ms
    since_ms = min(story.since_ms() or began_ms, began_ms)
    while True:
        last = _answer(check)
        took_ms = time.time() * 1000 + story.clock_offset_ms - since_ms
        if last is True:
            story.recoveries.append((what or getattr(check, "__name__", "check"), took_ms))
            return took_ms
        if took_ms > limit_ms:
            raise DidNotRecover("\n  ".join([f"did not recover within {within}: {last}", *story.timeline()]))
        time.sleep(POLL_S)


def _answer(check: Callable[[], Any]) -> bool | str:
    """True, or why not."""
    try:
        answer = check()
    except Exception as error:
        return f"it raised {type(error).__name__}: {error}"
    return True if answer else f"it answered {answer!r}"
