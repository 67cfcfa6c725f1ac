"""Sending messages in runs, and how long each takes to be acknowledged."""

import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from trogdor.workload.channel import Channel
from trogdor.workload.client_properties import ClientConf
from trogdor.workload.clients import WorkloadError, made
from trogdor.workload.columns import Column
from trogdor.workload.histogram import Histogram, float32
from trogdor.workload.librdkafka.producer import Producer

RUN = 2000
"""The most messages of one run."""

MAX_UNACKNOWLEDGED = 100_000
"""The most messages under way: what bounds memory, beside ``buffer.memory``."""

TRANSACTION_TIMEOUT_S = 60
STEP_S = 0.1
"""So long a call to librdkafka may last in which nobody looks whether the workload is stopped."""

CONNECT_S = 0.5

UNASSIGNED = -1


def in_turn(active: Sequence[tuple[str, int]], position: int, count: int) -> Iterator[tuple[str, int, slice]]:
    """A run of messages from ``position`` on, to all active partitions in turn: topic, partition, which of the run."""
    cycle, first = len(active), position % len(active)
    for at in range(min(cycle, count)):
        yield *active[(first + at) % cycle], slice(at, None, cycle)


class Sender:
    """Sends runs of messages; the histogram gets each one's time to its acknowledgement, in ms."""

    def __init__(self, conf: ClientConf, channel: Channel) -> None:
        self.histogram = Histogram()
        self.failed = 0
        self._producer = made(partial(Producer, on_delivery=self._delivered), conf.properties, channel)
        self._max_block_s = conf.max_block_ms / 1000
        self._channel = channel

    def connect(self) -> None:
        """Before the first message, so that no connecting is part of its latency, as far as the brokers answer."""
        self._producer.connect(CONNECT_S)

    def send(self, topic: str, partition: int, keys: Column, values: Column) -> None:
        """Hands one run to the producer; blocks while too much is under way.

        ``partition``: UNASSIGNED leaves it to the producer's partitioner. Raises WorkloadError when nothing moves for
        ``max.block.ms``.
        """
        self._make_room()
        sent_ns = time.monotonic_ns()
        opaques = array("Q", [sent_ns]) * len(keys)
        deadline = time.monotonic() + self._max_block_s
        while refused := self._producer.produce(topic, partition, keys, values, opaques):
            full = [at for at, code in refused.items() if code == KafkaError._QUEUE_FULL]
            for code in [code for code in refused.values() if code != KafkaError._QUEUE_FULL]:
                self._delivered(sent_ns, 1, code)
            if not full or self._channel.stop.is_set():
                break
            keys, values, opaques = keys[full[0] :], values[full[0] :], opaques[full[0] :]
            self._producer.poll(0.01)
            self._give_up_after(deadline)
        self._producer.poll(0)

    def _delivered(self, sent_ns: int, count: int, code: int) -> None:
        self.histogram.record((time.monotonic_ns() - sent_ns) // 1_000_000, count)
        if code:
            self.failed += count
            if self.failed <= 10:
                self._channel.log(f"{count} message(s) not acknowledged: {KafkaError(code).str()}")

    def _make_room(self) -> None:
        deadline = time.monotonic() + self._max_block_s
        while len(self._producer) >= MAX_UNACKNOWLEDGED and not self._channel.stop.is_set():
            if self._producer.poll(0.01):
                deadline = time.monotonic() + self._max_block_s
            self._give_up_after(deadline)

    def _give_up_after(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise WorkloadError(
                f"No acknowledgement within {self._max_block_s:.0f} s, and the producer's queue is full"
            )

    def idle(self, seconds: float) -> None:
        """Waits, and takes acknowledgements as they come."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self._channel.stop.is_set():
            self._producer.poll(min(left, STEP_S))

    def flush(self, seconds: float) -> None:
        """Waits until every message is acknowledged, at most so long, or until the workload is stopped."""
        deadline = time.monotonic() + seconds
        while len(self._producer) and (left := deadline - time.monotonic()) > 0 and not self._channel.stop.is_set():
            self._producer.flush(min(left, STEP_S))

    def flush_then_idle(self, seconds: float) -> None:
        """Upstream's way to wait: flushes first, so that a throttle's delay is not part of any latency."""
        began = time.monotonic()
        self.flush(3600)
        self.idle(seconds - (time.monotonic() - began))

    def init_transactions(self) -> None:
        """Before the first transaction. Raises KafkaException."""
        self._until_done(self._producer.init_transactions)

    def begin_transaction(self) -> None:
        """Raises KafkaException."""
        self._producer.begin_transaction()

    def commit_transaction(self) -> bool:
        """Flushes and commits; not done when the workload is stopped before. Raises KafkaException."""
        self.flush(TRANSACTION_TIMEOUT_S)
        return self._until_done(self._producer.commit_transaction)

    def _until_done(self, step: Callable[[float], None]) -> bool:
        """Calls what goes on when it is called again; whether it was done before the workload was stopped."""
        deadline = time.monotonic() + TRANSACTION_TIMEOUT_S
        while not self._channel.stop.is_set():
            try:
                step(STEP_S)
                return True
            except KafkaException as failure:
                if not failure.args[0].retriable() or time.monotonic() > deadline:
                    raise
        return False


def latency_fields(histogram: Histogram) -> dict[str, Any]:
    """Upstream's fields of a latency summary."""
    return {
        "averageLatencyMs": float32(histogram.mean),
        "p50LatencyMs": histogram.percentile(0.5),
        "p95LatencyMs": histogram.percentile(0.95),
        "p99LatencyMs": histogram.percentile(0.99),
    }
