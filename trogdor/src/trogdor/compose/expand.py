"""From a composite to the specs it is made of: ``expand(spec, topology, answers)``, pure.

What it needs to know of the world it names as a ``Question``; ``trogdor.compose.resolve`` answers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trogdor.compose.schedule import fixed
from trogdor.spec import Spec, SpecError
from trogdor.spec.composite import SequenceSpec, TargetSpec
from trogdor.spec.schedule import FixedScheduleSpec, RandomScheduleSpec
from trogdor.spec.template import fill
from trogdor.topology import Topology

COMPOSITES = (FixedScheduleSpec, RandomScheduleSpec, SequenceSpec, TargetSpec)


@dataclass(frozen=True)
class Question:
    """Which nodes have a role, according to a resolver or a command."""

    resolve: str
    role: str
    command: tuple[str, ...]
    options: Mapping[str, Any]
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class Part:
    """One task of a composite: a spec's JSON without times, and its times in ms after the composite's start."""

    at_ms: int
    duration_ms: int
    document: Mapping[str, Any]

    def spec(self, start_ms: int) -> Spec:
        """The spec, where the composite starts at ``start_ms``."""
        from trogdor.spec import parse

        return parse({**self.document, "startMs": start_ms + self.at_ms, "durationMs": self.duration_ms})


def is_composite(spec: Spec) -> bool:
    """Whether a spec is made of others."""
    return isinstance(spec, COMPOSITES)


def question_of(spec: Spec) -> Question | None:
    """What has to be known before a spec can be expanded; None: nothing."""
    if not isinstance(spec, TargetSpec):
        return None
    return Question(spec.resolve, spec.role, spec.command, spec.options, spec.deadline_ms)


def expand(spec: Spec, topology: Topology, answers: Sequence[str] = ()) -> list[Part]:
    """The tasks of a composite, by their start. ``answers`` are the nodes that its question was answered with.

    Raises SpecError where they fit nothing.
    """
    if isinstance(spec, RandomScheduleSpec):
        spec = fixed(spec, topology)
    if isinstance(spec, FixedScheduleSpec):
        parts = [Part(task.at_ms, task.duration_ms, task.spec) for task in spec.tasks]
    elif isinstance(spec, SequenceSpec):
        parts = list(_rounds(spec))
    elif isinstance(spec, TargetSpec):
        parts = [_target(spec, topology, answers)]
    else:
        raise SpecError(f"{spec.class_name} is no composite")
    return sorted(parts, key=lambda part: part.at_ms)


def _rounds(spec: SequenceSpec) -> Iterator[Part]:
    for number in range(spec.repeat):
        for step in spec.steps:
            at_ms = number * spec.round_ms + step.offset_ms
            left_ms = spec.duration_ms - at_ms if spec.duration_ms else step.duration_ms
            if left_ms > 0 or not spec.duration_ms:
                yield Part(at_ms, min(step.duration_ms, left_ms), step.spec)


def _target(spec: TargetSpec, topology: Topology, answers: Sequence[str]) -> Part:
    agents = topology.agents()
    asked = " ".join(spec.command) or f"{spec.resolve} ({spec.role})"
    if not answers:
        raise SpecError(f"{asked} names no node")
    if unknown := [name for name in answers if name not in agents]:
        raise SpecError(f"{asked} names {', '.join(unknown)}: no node with an agent")
    others = [name for name in agents if name not in answers]
    return Part(0, spec.duration_ms, fill(spec.spec, list(answers), others))
