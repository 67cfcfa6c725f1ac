"""What a composite has to know of the world before it becomes other specs, and what it was told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Question:
    """Which nodes have a role now, according to a resolver of ``trogdor.resolve``."""

    resolve: str
    role: str
    options: Mapping[str, Any] = field(default_factory=dict)
    deadline_ms: int = 5000

    @property
    def words(self) -> str:
        """For messages: who is asked, and for what."""
        if self.resolve == "command":
            return " ".join(map(str, self.options.get("command", ())))
        return f"{self.resolve} ({self.role})"


@dataclass(frozen=True)
class Answer:
    """The nodes, how that is known, the system's own count of changes, and what it took to ask."""

    nodes: tuple[str, ...] = ()
    how: str = ""
    epoch: int | None = None
    took_ms: float = 0.0

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Answer":
        """Reads back what ``to_json`` wrote."""
        return cls(tuple(told["nodes"]), told["how"], told["epoch"], told["tookMs"])

    def to_json(self, question: Question) -> dict[str, Any]:
        """For the status and the events: whom it hit and how that was found."""
        return {
            "asked": question.words, "nodes": list(self.nodes), "how": self.how, "epoch": self.epoch,
            "tookMs": self.took_ms,
        }  # fmt: skip
