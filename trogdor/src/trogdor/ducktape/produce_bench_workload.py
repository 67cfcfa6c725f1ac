"""A producer's load on Kafka."""

from __future__ import annotations

from typing import Any

from trogdor.ducktape.task_spec import TaskSpec


class ProduceBenchWorkloadSpec(TaskSpec):
    """Produces up to ``max_messages`` messages at a rate, from one node."""

    def __init__(
        self,
        start_ms: int,
        duration_ms: int,
        producer_node: str,
        bootstrap_servers: str,
        target_messages_per_sec: int,
        max_messages: int,
        producer_conf: dict[str, Any],
        admin_client_conf: dict[str, Any],
        common_client_conf: dict[str, Any],
        inactive_topics: dict[str, Any],
        active_topics: dict[str, Any],
        transaction_generator: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(start_ms, duration_ms)
        self.message |= {
            "class": "org.apache.kafka.trogdor.workload.ProduceBenchSpec",
            "producerNode": producer_node,
            "bootstrapServers": bootstrap_servers,
            "targetMessagesPerSec": target_messages_per_sec,
            "maxMessages": max_messages,
            "producerConf": producer_conf,
            "transactionGenerator": transaction_generator,
            "adminClientConf": admin_client_conf,
            "commonClientConf": common_client_conf,
            "inactiveTopics": inactive_topics,
            "activeTopics": active_topics,
        }


def __getattr__(name: str) -> object:
    """The service that goes with it, as in kafkatest's module; imported when asked for, as it needs ducktape."""
    if name != "ProduceBenchWorkloadService":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trogdor.ducktape.workload_service import ProduceBenchWorkloadService

    return ProduceBenchWorkloadService
