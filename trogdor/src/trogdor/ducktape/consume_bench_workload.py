"""A consumer's load on Kafka."""

from __future__ import annotations

from typing import Any

from trogdor.ducktape.task_spec import TaskSpec


class ConsumeBenchWorkloadSpec(TaskSpec):
    """Consumes up to ``max_messages`` messages at a rate, on one node, by one or more consumers."""

    def __init__(
        self,
        start_ms: int,
        duration_ms: int,
        consumer_node: str,
        bootstrap_servers: str,
        target_messages_per_sec: int,
        max_messages: int,
        active_topics: list[str],
        consumer_conf: dict[str, Any],
        common_client_conf: dict[str, Any],
        admin_client_conf: dict[str, Any],
        consumer_group: str | None = None,
        consumer_count: int = 1,
    ) -> None:
        super().__init__(start_ms, duration_ms)
        self.message |= {
            "class": "org.apache.kafka.trogdor.workload.ConsumeBenchSpec",
            "consumerNode": consumer_node,
            "bootstrapServers": bootstrap_servers,
            "targetMessagesPerSec": target_messages_per_sec,
            "maxMessages": max_messages,
            "consumerConf": consumer_conf,
            "adminClientConf": admin_client_conf,
            "commonClientConf": common_client_conf,
            "activeTopics": active_topics,
            "threadsPerWorker": consumer_count,
        }
        if consumer_group is not None:
            self.message["consumerGroup"] = consumer_group


def __getattr__(name: str) -> object:
    """The service that goes with it, as in kafkatest's module; imported when asked for, as it needs ducktape."""
    if name != "ConsumeBenchWorkloadService":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trogdor.ducktape.workload_service import ConsumeBenchWorkloadService

    return ConsumeBenchWorkloadService
