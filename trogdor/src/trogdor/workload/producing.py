"""Sending messages in runs, and how long each takes to be acknowledged."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from trogdor.workload.channel import Channel
from trogdor.workload.clients import WorkloadError
from trogdor.workload.histogram import Histogram, float32
from trogdor.workload.payloads import Bytes

RUN = 2000
"""The most messages of one run."""

GROUP = 64
"""The most messages of one partition and run that share one acknowledgement."""

MAX_UNACKNOWLEDGED = 100_000
"""The most messages under way: what bounds memory, beside ``buffer.memory``."""

SHORT = 16
"""A run of so few messages measures each."""

UNASSIGNED = -1


class Sender:
    """Sends runs of messages; the histogram gets each one's time to its acknowledgement, in ms.

    Messages of one run and one partition are sent and acknowledged in order, so up to GROUP of them share the last
    one's acknowledgement: none is reported faster than it was. In a short run each message has its own.
    """

    def __init__(self, producer: Producer, max_block_ms: int, channel: Channel) -> None:
        self.producer = producer
        self.histogram = Histogram()
        self.failed = 0
        self._max_block_s = max_block_ms / 1000
        self._channel = channel
        self._messages: list[dict[str, Any]] = []

    def send(self, topic: str, partition: int, keys: Sequence[Bytes], values: Sequence[Bytes]) -> None:
        """Hands one run to the producer; blocks while too much is under way.

        ``partition``: UNASSIGNED leaves it to the producer's partitioner, and each message then has its own
        acknowledgement. Raises WorkloadError when nothing moves for ``max.block.ms``.
        """
        self._make_room()
        messages = self._filled(keys, values)
        sent_ns = time.monotonic_ns()
        ends = groups(len(messages), 1 if partition == UNASSIGNED else GROUP)
        for at, count in ends:
            messages[at]["callback"] = self._on_delivery(sent_ns, count)
        self._hand_over(topic, partition, messages)
        for at, _ in ends:
            del messages[at]["callback"]
        self.producer.poll(0)

    def _filled(self, keys: Sequence[Bytes], values: Sequence[Bytes]) -> list[dict[str, Any]]:
        """Messages as ``produce_batch`` takes them; to make their dicts anew each time costs a quarter of all."""
        self._messages += [{} for _ in range(len(keys) - len(self._messages))]
        messages = self._messages[: len(keys)]
        for message, key, value in zip(messages, keys, values, strict=True):
            message["key"], message["value"] = key, value
        return messages

    def _on_delivery(self, sent_ns: int, count: int) -> Callable[[KafkaError | None, Message | None], None]:
        def delivered(error: KafkaError | None, message: Message | None) -> None:
            self.histogram.record((time.monotonic_ns() - sent_ns) // 1_000_000, count)
            if error is not None:
                self._failed(error, count)

        return delivered

    def _failed(self, error: KafkaError, count: int) -> None:
        self.failed += count
        if self.failed <= 10:
            self._channel.log(f"{count} message(s) not acknowledged: {error.str()}")

    def _make_room(self) -> None:
        deadline = time.monotonic() + self._max_block_s
        while len(self.producer) >= MAX_UNACKNOWLEDGED:
            if self.producer.poll(0.01):
                deadline = time.monotonic() + self._max_block_s
            self._give_up_after(deadline)

    def _give_up_after(self, deadline: float) -> None:
        if time.monotonic() > deadline and not self._channel.stop.is_set():
            raise WorkloadError(
                f"No acknowledgement within {self._max_block_s:.0f} s, and the producer's queue is full"
            )

    def _hand_over(self, topic: str, partition: int, messages: list[dict[str, Any]]) -> None:
        deadline = time.monotonic() + self._max_block_s
        while self.producer.produce_batch(topic, messages, partition) < len(messages):
            messages = self._refused(messages)
            if not messages or self._channel.stop.is_set():
                return
            self.producer.poll(0.01)
            self._give_up_after(deadline)

    def _refused(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those that there was no room for. What was refused for another reason counts as failed."""
        full = []
        for message in messages:
            error: KafkaError | None = message.pop("_error", None)
            if error is not None and error.code() == KafkaError._QUEUE_FULL:
                full.append(message)
            elif error is not None:
                self._failed(error, 1)
                if speaks_for_its_group := message.get("callback"):
                    speaks_for_its_group(None, None)
        return full

    def idle(self, seconds: float) -> None:
        """Waits, and takes acknowledgements as they come."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self._channel.stop.is_set():
            self.producer.poll(min(left, 0.1))

    def flush(self, seconds: float) -> None:
        """Waits until every message is acknowledged, at most so long, or until the workload is stopped."""
        deadline = time.monotonic() + seconds
        while len(self.producer) and (left := deadline - time.monotonic()) > 0 and not self._channel.stop.is_set():
            self.producer.flush(min(left, 0.1))

    def flush_then_idle(self, seconds: float) -> None:
        """Upstream's way to wait: flushes first, so that a throttle's delay is not part of any latency."""
        began = time.monotonic()
        self.flush(3600)
        self.idle(seconds - (time.monotonic() - began))


def groups(messages: int, size: int = GROUP) -> list[tuple[int, int]]:
    """Where in a run of one partition each group ends, and how many messages it has; a short run has groups of one."""
    if messages <= SHORT:
        size = 1
    ends = [(at + size - 1, size) for at in range(0, messages - size + 1, size)]
    rest = messages % size
    return [*ends, (messages - 1, rest)] if rest else ends


def latency_fields(histogram: Histogram) -> dict[str, Any]:
    """Upstream's fields of a latency summary."""
    return {
        "averageLatencyMs": float32(histogram.mean),
        "p50LatencyMs": histogram.percentile(0.5),
        "p95LatencyMs": histogram.percentile(0.95),
        "p99LatencyMs": histogram.percentile(0.99),
    }
