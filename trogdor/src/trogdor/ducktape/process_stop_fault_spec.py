"""Java processes that stand still."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trogdor.ducktape.task_spec import TaskSpec


class ProcessStopFaultSpec(TaskSpec):
    """Stops the Java processes of a main class (SIGSTOP), and lets them go on at the end."""

    def __init__(self, start_ms: int, duration_ms: int, nodes: Iterable[Any], java_process_name: str) -> None:
        """``nodes``: by name or as ClusterNodes; ``java_process_name``: as jps prints it."""
        super().__init__(start_ms, duration_ms)
        self.message["class"] = "org.apache.kafka.trogdor.fault.ProcessStopFaultSpec"
        self.message["nodeNames"] = self.to_node_names(nodes)
        self.message["javaProcessName"] = java_process_name
