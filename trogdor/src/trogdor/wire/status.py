"""The one model of a fault's status, which page, command line, pytest plugin and report read."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

UndoneBy = Literal["end", "stop", "kernel", "warden", "replay", "gone"]
NOT_UNDONE = "could not be undone"
"""How an agent begins the error of a worker whose fault is still there."""


class FaultStatus(BaseModel):
    """What was asked of one node, what was seen there, and what undid it. Times: ms of the coordinator's clock.

    ``verdict`` is ``armed``, ``seen``, ``not seen: why`` or ``unverified: why``; only the first word group before
    the colon is meant for programs.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", defer_build=True)

    text: str = ""
    verdict: str = "armed"
    asked_start_ms: float | None = None
    seen_start_ms: float | None = None
    asked_end_ms: float | None = None
    seen_end_ms: float | None = None
    undone_by: UndoneBy | None = None
    via: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What else a reader should know: who came late, what somebody else had changed and was left alone."""

    def to_json(self) -> dict[str, Any]:
        """As it goes on the wire: every key, in order, so that readers need not ask which are there."""
        return self.model_dump(by_alias=True, mode="json")

    @property
    def outcome(self) -> str:
        """``armed``, ``seen``, ``not seen`` or ``unverified``."""
        return self.verdict.partition(":")[0]


def read_statuses(status: Any, nodes: list[str]) -> dict[str, FaultStatus]:
    """Node → status, from a task's status: for one node it is the status itself, for many a map by node.

    What is no fault's status (a workload's, a NoOp's, none yet) is left out.
    """
    by_node = {nodes[0]: status} if len(nodes) == 1 else status
    if not isinstance(by_node, dict):
        return {}
    return {
        node: FaultStatus.model_validate(value)
        for node, value in by_node.items()
        if isinstance(value, dict) and "verdict" in value
    }
