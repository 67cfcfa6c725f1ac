"""Kafka's verifiable producer and consumer as ducktape services: each says, as JSON lines, what it has done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from trogdor.ducktape.kafka import KafkaClient, KafkaService


class _Events(KafkaClient):
    """A program that writes JSON lines; each is fetched once."""

    def __init__(
        self, context: Any, num_nodes: int, kafka: KafkaService, topic: str, nodes: Iterable[Any] | None
    ) -> None:
        super().__init__(context, num_nodes, kafka, topic, nodes)
        self._read: dict[str, int] = {}
        self._events: dict[str, list[dict[str, Any]]] = {}

    def start_node(self, node: Any, **kwargs: Any) -> None:
        """Starts it, and forgets what an earlier start of it has said."""
        self._read[node.name], self._events[node.name] = 0, []
        self.start_java(node, self._arguments(node))

    def _arguments(self, node: Any) -> Sequence[str]:
        raise NotImplementedError

    def events(self, node: Any) -> list[dict[str, Any]]:
        """All that it has said so far."""
        read, events = self._read.get(node.name, 0), self._events.setdefault(node.name, [])
        written: bytes = node.account.ssh_output(f"tail -c +{read + 1} {self.stdout_path} 2>/dev/null", allow_fail=True)
        whole = written[: written.rfind(b"\n") + 1]
        events += [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]
        self._read[node.name] = read + len(whole)
        return list(events)

    def _named(self, *names: str) -> Iterator[dict[str, Any]]:
        return (event for node in self.nodes for event in self.events(node) if event["name"] in names)


class VerifiableProducer(_Events):
    """Sends the numbers from 0 and says which were acknowledged. Names as in kafkatest's VerifiableProducer."""

    PERSISTENT_ROOT = "/mnt/verifiable_producer"
    MAIN = "org.apache.kafka.tools.VerifiableProducer"

    def __init__(
        self,
        context: Any,
        num_nodes: int,
        kafka: KafkaService,
        topic: str,
        max_messages: int = -1,
        throughput: int = 1000,
        *,
        acks: int = -1,
        nodes: Iterable[Any] | None = None,
    ) -> None:
        """max_messages: then it ends; −1: when it is stopped. throughput: messages a second. acks: −1 is all."""
        super().__init__(context, num_nodes, kafka, topic, nodes)
        self.max_messages, self.throughput, self.acks = max_messages, throughput, acks

    def _arguments(self, node: Any) -> Sequence[str]:
        limits = ["--throughput", str(self.throughput), "--max-messages", str(self.max_messages)]
        return [*self._of_topic(), "--acks", str(self.acks), *limits]

    @property
    def acked(self) -> list[int]:
        """The values that were acknowledged."""
        return [int(event["value"]) for event in self._named("producer_send_success")]

    @property
    def not_acked(self) -> list[int]:
        """The values whose sending failed."""
        return [int(event["value"]) for event in self._named("producer_send_error")]

    @property
    def num_acked(self) -> int:
        """How many were acknowledged."""
        return len(self.acked)


class VerifiableConsumer(_Events):
    """Reads a topic as one group, and says what it has read. Names as in kafkatest's VerifiableConsumer."""

    PERSISTENT_ROOT = "/mnt/verifiable_consumer"
    MAIN = "org.apache.kafka.tools.VerifiableConsumer"

    def __init__(
        self,
        context: Any,
        num_nodes: int,
        kafka: KafkaService,
        topic: str,
        group_id: str,
        max_messages: int = -1,
        *,
        nodes: Iterable[Any] | None = None,
    ) -> None:
        """max_messages: then it ends; −1: when it is stopped. It begins at the first message."""
        super().__init__(context, num_nodes, kafka, topic, nodes)
        self.group_id, self.max_messages = group_id, max_messages

    def _arguments(self, node: Any) -> Sequence[str]:
        words = [
            *self._of_topic(),
            "--reset-policy",
            "earliest",
        ]
        return [*words, "--group-id", self.group_id, "--max-messages", str(self.max_messages), "--verbose"]

    @property
    def consumed(self) -> list[int]:
        """The values that were read."""
        return [int(event["value"]) for event in self._named("record_data")]

    @property
    def total_consumed(self) -> int:
        """How many were read."""
        return sum(int(event["count"]) for event in self._named("records_consumed"))
