"""One task of a composite, and how a composite stands whose questions are asked again and again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trogdor.compose.question import Answer
from trogdor.spec import Spec


@dataclass(frozen=True, slots=True)
class Part:
    """A spec's JSON without times, and its times in ms after the composite's start."""

    at_ms: int
    duration_ms: int
    document: Mapping[str, Any]

    def spec(self, start_ms: int) -> Spec:
        """The spec, where the composite starts at ``start_ms``."""
        from trogdor.spec import parse

        return parse({**self.document, "startMs": start_ms + self.at_ms, "durationMs": self.duration_ms})


@dataclass(frozen=True, slots=True)
class Made:
    """A part that was made, and whether its task is over."""

    document: Mapping[str, Any]
    is_over: bool


@dataclass(frozen=True, slots=True)
class Course:
    """What was answered before the start and now, what was made, and how many ms after the start now is."""

    first: Sequence[Answer]
    now: Sequence[Answer]
    made: Sequence[Made]
    at_ms: int


def untimed(spec: Spec) -> dict[str, Any]:
    """A spec's JSON without times, as parts have it."""
    return {name: value for name, value in spec.to_json().items() if name not in ("startMs", "durationMs")}
