"""Composites: specs that become other specs once the system under test has answered some questions.

``questions(spec, topology)`` says what must be known, ``expand(spec, topology, answers)`` makes the specs. Both are
pure: whoever asks (``python -m trogdor.resolve``, in a process of its own) comes between them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trogdor.spec import Spec, SpecError
from trogdor.topology import Topology


@dataclass(frozen=True)
class Question:
    """Which nodes play a part now? ``resolver`` and ``target`` are names of ``trogdor.resolve``."""

    resolver: str
    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As ``python -m trogdor.resolve`` reads it."""
        return {"resolver": self.resolver, "target": self.target, "arguments": dict(self.arguments)}


@dataclass(frozen=True)
class Answer:
    """The nodes that play a part, how that is known, and what it took to ask; or why it is not known."""

    nodes: tuple[str, ...] = ()
    how: str = ""
    epoch: int | None = None
    took_ms: float = 0.0
    error: str = ""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Answer":
        """From what ``python -m trogdor.resolve`` writes."""
        return cls(
            nodes=tuple(value.get("nodes", ())),
            how=value.get("how", ""),
            epoch=value.get("epoch"),
            took_ms=value.get("tookMs", 0.0),
            error=value.get("error", ""),
        )


@dataclass(frozen=True)
class Composite:
    """How one spec class becomes others."""

    spec: type[Spec]
    questions: Callable[[Any, Topology], Sequence[Question]]
    children: Callable[[Any, Topology, Sequence[Answer]], Sequence[Spec]]
    """The specs, given an answer to each question; their times are the composite's own. Raises SpecError."""
    again_ms: Callable[[Any], int] = lambda spec: 0
    """While it runs, the questions are asked again this often, and new children are added; 0: never."""
    ask_at_creation: Callable[[Any], bool] = lambda spec: False
    """Whether the questions are asked when the task is made, and not shortly before it starts."""


COMPOSITES: dict[type[Spec], Composite] = {}


def register(composite: Composite) -> None:
    """Makes a composite known. Raises ValueError when its spec class has one already."""
    if COMPOSITES.setdefault(composite.spec, composite) is not composite:
        raise ValueError(f"{composite.spec.class_name} is a composite already")


def is_composite(spec: Spec) -> bool:
    """Whether a spec becomes other specs."""
    return type(spec) in COMPOSITES


def questions(spec: Spec, topology: Topology) -> list[Question]:
    """What must be known before ``expand``; often nothing."""
    return list(COMPOSITES[type(spec)].questions(spec, topology))


def expand(spec: Spec, topology: Topology, answers: Sequence[Answer] = ()) -> list[Spec]:
    """The specs that a composite becomes, in order, with its start and duration.

    Raises SpecError when a question has no answer or the answers leave nothing to do: a cluster that cannot be asked
    never ends in a fault on the wrong node.
    """
    if failures := [answer.error for answer in answers if answer.error]:
        raise SpecError("; ".join(failures))
    children = COMPOSITES[type(spec)].children(spec, topology, answers)
    if not children:
        raise SpecError(f"there is nothing to do: {'; '.join(answer.how for answer in answers)}")
    times = {"start_ms": spec.start_ms, "duration_ms": spec.duration_ms}
    return [child.model_copy(update=times) for child in children]


def found(asked: Sequence[Question], answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """For the status: whom each question found, and how."""
    return [
        {
            "target": question.target, "nodes": list(answer.nodes), "how": answer.how or answer.error,
            "epoch": answer.epoch, "tookMs": answer.took_ms,
        }
        for question, answer in zip(asked, answers, strict=True)
    ]  # fmt: skip
