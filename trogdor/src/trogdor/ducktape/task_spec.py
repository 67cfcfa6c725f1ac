"""What all specs have in common."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


class TaskSpec:
    """A task as a Python object; ``message`` is its JSON."""

    MAX_DURATION_MS = 10000000

    def __init__(self, start_ms: int, duration_ms: int) -> None:
        """``start_ms``: ms since the epoch, 0 for at once; ``duration_ms``: how long, counted from the start."""
        self.message: dict[str, Any] = {"startMs": start_ms, "durationMs": duration_ms}

    @staticmethod
    def to_node_names(nodes: Iterable[Any]) -> list[str]:
        """The names of nodes that are given by name or as ClusterNodes."""
        return [node if isinstance(node, str) else node.name for node in nodes]

    def __str__(self) -> str:
        return json.dumps(self.message)
