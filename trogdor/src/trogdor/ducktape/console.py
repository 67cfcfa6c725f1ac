"""Kafka's console producer and consumer as ducktape services."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from trogdor.ducktape.kafka import KafkaClient, KafkaService


class ConsoleProducer(KafkaClient):
    """Sends messages, the same from each node, and ends: ``start`` and then ``wait``."""

    PERSISTENT_ROOT = "/mnt/console_producer"
    MAIN = "org.apache.kafka.tools.ConsoleProducer"

    def __init__(
        self,
        context: Any,
        num_nodes: int,
        kafka: KafkaService,
        topic: str,
        messages: Iterable[str],
        *,
        producer_properties: Iterable[str] = (),
        nodes: Iterable[Any] | None = None,
    ) -> None:
        """messages: one a line, without line ends. producer_properties: ``key=value``."""
        super().__init__(context, num_nodes, kafka, topic, nodes)
        self.messages = list(messages)
        self.producer_properties = list(producer_properties)

    def start_node(self, node: Any, **kwargs: Any) -> None:
        """Starts sending."""
        sent = f"{self.PERSISTENT_ROOT}/messages"
        words = self._of_topic()
        for each in self.producer_properties:
            words += ["--producer-property", each]
        self.start_java(node, words, files={sent: "".join(f"{each}\n" for each in self.messages)}, stdin=sent)


class ConsoleConsumer(KafkaClient):
    """Reads a topic and keeps what it has read. Interface as kafkatest's ConsoleConsumer."""

    PERSISTENT_ROOT = "/mnt/console_consumer"
    MAIN = "org.apache.kafka.tools.consumer.ConsoleConsumer"

    def __init__(
        self,
        context: Any,
        num_nodes: int,
        kafka: KafkaService,
        topic: str,
        group_id: str = "test-consumer-group",
        *,
        from_beginning: bool = True,
        message_validator: Callable[[str], Any] | None = None,
        consumer_timeout_ms: int | None = None,
        consumer_properties: Iterable[str] = (),
        nodes: Iterable[Any] | None = None,
    ) -> None:
        """message_validator: what becomes of a message's text; None from it leaves the message out.
        consumer_timeout_ms: it ends after so long without a message; absent, when it is stopped.
        """
        super().__init__(context, num_nodes, kafka, topic, nodes)
        self.group_id, self.from_beginning, self.consumer_timeout_ms = group_id, from_beginning, consumer_timeout_ms
        self.message_validator = message_validator or (lambda text: text)
        self.consumer_properties = list(consumer_properties)

    def start_node(self, node: Any, **kwargs: Any) -> None:
        """Starts reading."""
        words = [*self._of_topic(), "--group", self.group_id]
        if self.from_beginning:
            words.append("--from-beginning")
        if self.consumer_timeout_ms is not None:
            words += ["--timeout-ms", str(self.consumer_timeout_ms)]
        for each in self.consumer_properties:
            words += ["--consumer-property", each]
        self.start_java(node, words)

    @property
    def messages_consumed(self) -> dict[int, Sequence[Any]]:
        """By the node's number, from 1: what was read so far."""
        return {self.idx(node): self._read(node) for node in self.nodes}

    def _read(self, node: Any) -> list[Any]:
        written = node.account.ssh_output(f"cat {self.stdout_path}", allow_fail=True).decode(errors="replace")
        found = (self.message_validator(line) for line in written.split("\n")[:-1])
        return [message for message in found if message is not None]
