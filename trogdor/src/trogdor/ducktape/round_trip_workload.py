"""Messages that are produced and must come back."""

from __future__ import annotations

from typing import Any

from trogdor.ducktape.task_spec import TaskSpec


class RoundTripWorkloadSpec(TaskSpec):
    """Produces messages and consumes each of them again, on one node."""

    def __init__(
        self,
        start_ms: int,
        duration_ms: int,
        client_node: str,
        bootstrap_servers: str,
        target_messages_per_sec: int,
        max_messages: int,
        active_topics: dict[str, Any],
    ) -> None:
        super().__init__(start_ms, duration_ms)
        self.message |= {
            "class": "org.apache.kafka.trogdor.workload.RoundTripWorkloadSpec",
            "clientNode": client_node,
            "bootstrapServers": bootstrap_servers,
            "targetMessagesPerSec": target_messages_per_sec,
            "maxMessages": max_messages,
            "activeTopics": active_topics,
        }


def __getattr__(name: str) -> object:
    """The service that goes with it, as in kafkatest's module; imported when asked for, as it needs ducktape."""
    if name != "RoundTripWorkloadService":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trogdor.ducktape.workload_service import RoundTripWorkloadService

    return RoundTripWorkloadService
