"""Groups of nodes that cannot reach each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trogdor.ducktape.task_spec import TaskSpec


class NetworkPartitionFaultSpec(TaskSpec):
    """Cuts every link between nodes of different groups, both ways."""

    def __init__(self, start_ms: int, duration_ms: int, partitions: Iterable[Iterable[Any]]) -> None:
        """``partitions``: groups of nodes, each by name or as a ClusterNode."""
        super().__init__(start_ms, duration_ms)
        self.message["class"] = "org.apache.kafka.trogdor.fault.NetworkPartitionFaultSpec"
        self.message["partitions"] = [self.to_node_names(group) for group in partitions]
