"""Slow and narrow networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trogdor.ducktape.task_spec import TaskSpec


class DegradedNetworkFaultSpec(TaskSpec):
    """Delays a node's traffic, or limits its rate, by network device."""

    def __init__(self, start_ms: int, duration_ms: int, node_specs: Mapping[str, Any] | None = None) -> None:
        """``node_specs``: node name → ``{"networkDevice", "latencyMs", "rateLimitKbit"}``; see ``add_node_spec``."""
        super().__init__(start_ms, duration_ms)
        self.message["class"] = "org.apache.kafka.trogdor.fault.DegradedNetworkFaultSpec"
        self.message["nodeSpecs"] = dict(node_specs or {})

    def add_node_spec(self, node: str, networkDevice: str, latencyMs: int = 0, rateLimitKbit: int = 0) -> None:  # noqa: N803
        """Degrades one more node, by name: ms added, kbit/s left; 0 is as before."""
        self.message["nodeSpecs"][node] = {
            "networkDevice": networkDevice,
            "latencyMs": latencyMs,
            "rateLimitKbit": rateLimitKbit,
        }
