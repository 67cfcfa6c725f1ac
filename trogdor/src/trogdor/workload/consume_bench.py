"""ConsumeBench: consumes messages, with one or several consumers, and measures how many, how large, how often."""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from trogdor.spec.generators import TimestampProcessor
from trogdor.spec.workload import ConsumeBenchSpec, ShareConsumeBenchSpec
from trogdor.workload.channel import Channel, run
from trogdor.workload.clients import WorkloadError, close, conf_of, consumer, reason, topic_partitions
from trogdor.workload.histogram import Histogram, float32
from trogdor.workload.pacing import Pace, per_second, unlimited
from trogdor.workload.payloads import LONG_BYTES
from trogdor.workload.producing import latency_fields
from trogdor.workload.topics import subscriptions

Bench = TypeVar("Bench", ConsumeBenchSpec, ShareConsumeBenchSpec)

POLL_S = 0.05
ASSIGNED_S = 0.5
"""So seldom a consumer is asked for its partitions, which may be thousands."""

MAX_POLL_INTERVAL_MS = 100_000
SAME_GROUP = (
    "You may not specify an explicit partition assignment when using multiple consumers in the same group."
    "Please leave the consumer group unset, specify topics instead of partitions or use a single consumer."
)


class Processor:
    """How late messages with a timestamp payload come, in steps of ms (TimestampRecordProcessor)."""

    def __init__(self, wanted: TimestampProcessor) -> None:
        if wanted.histogram_step_ms <= 0:
            raise WorkloadError("histogramStepMs: a number of ms above 0 is wanted")
        self._least, self._step = wanted.histogram_min_ms, wanted.histogram_step_ms
        self._last = max((wanted.histogram_max_ms - self._least) // self._step, 0)
        self._histogram = Histogram()
        self._lock = threading.Lock()

    def process(self, messages: Sequence[Message]) -> None:
        """Takes the messages of one poll; those without a timestamp are passed over."""
        now = time.time_ns() // 1_000_000
        for message in messages:
            value = message.value()
            if value is not None and len(value) >= LONG_BYTES:
                late = now - int.from_bytes(value[:LONG_BYTES], "little", signed=True)
                with self._lock:
                    self._histogram.record(min((late - self._least) // self._step, self._last))

    def status(self) -> dict[str, Any]:
        """Upstream's TimestampRecordProcessor.StatusData."""
        summary, step, least = latency_fields(self._histogram), self._step, self._least
        return {
            name: float32(value * step + least) if name == "averageLatencyMs" else value * step + least
            for name, value in summary.items()
        }


class Consuming:
    """One consumer under way."""

    def __init__(
        self,
        client: Any,
        client_id: str,
        spec: ConsumeBenchSpec | ShareConsumeBenchSpec,
        at_once: int,
        channel: Channel,
    ) -> None:
        self.client, self.client_id = client, client_id
        self._spec, self._channel, self._at_once = spec, channel, at_once
        self._latencies = Histogram()
        self._bytes = 0
        self._errors = 0
        self._assigned: list[str] = []
        self._assigned_until = 0.0
        rate = spec.target_messages_per_sec
        self._pace = Pace(per_second(rate) if rate > 0 else unlimited(), channel.stop.wait, channel.stop.is_set)

    def status(self, processor: Processor | None) -> dict[str, Any]:
        """Upstream's ConsumeBenchWorker.StatusData; what is empty is left out."""
        samples, total = self._latencies.samples, self._bytes
        status = {
            "assignedPartitions": self._assigned,
            "totalMessagesReceived": samples,
            "totalBytesReceived": total,
            "averageMessageSizeBytes": total // samples if samples else 0,
            **latency_fields(self._latencies),
        }
        if not self._assigned:
            del status["assignedPartitions"]
        if processor is not None:
            status["recordProcessorStatus"] = processor.status()
        return status

    def consume(self, processor: Processor | None) -> None:
        """Consumes until the spec's count is reached or the workload is stopped."""
        left, began = self._spec.max_messages, time.monotonic_ns()
        started = began
        while left > 0 and not self._channel.stop.is_set():
            messages = self._poll(min(self._at_once, left))
            if not messages:
                continue
            elapsed_ms = (time.monotonic_ns() - began) // 1_000_000
            if processor is not None:
                processor.process(messages)
            self._latencies.record(elapsed_ms, len(messages))
            self._bytes += sum(map(len, messages)) + sum(map(len, filter(None, map(Message.key, messages))))
            left -= len(messages)
            owed = len(messages) if left > 0 else len(messages) - 1
            while owed > 0 and (taken := self._pace.take(owed)):
                owed -= taken
            began = time.monotonic_ns()
        took_ms = (time.monotonic_ns() - started) // 1_000_000
        self._channel.log(
            f"{self.client_id} Consumed total number of messages={self._latencies.samples}, bytes={self._bytes}"
            f" in {took_ms} ms."
        )

    def _poll(self, most: int) -> list[Message]:
        """What there is, at most so many, waiting a little for the first; errors are logged."""
        first = self.client.poll(POLL_S)
        if first is None:
            return []
        if (now := time.monotonic()) > self._assigned_until:
            self._assigned = [f"{part.topic}-{part.partition}" for part in self.client.assignment()]
            self._assigned_until = now + ASSIGNED_S
        return self._sound([first, *(self.client.consume(most - 1, 0) if most > 1 else ())])

    def _sound(self, messages: list[Message]) -> list[Message]:
        """The messages among those polled; the first errors are logged."""
        if not any(map(Message.error, messages)):
            return messages
        for failure in (message for message in messages if message.error() is not None):
            self._errors += 1
            if self._errors <= 10:
                self._channel.log(f"{self.client_id}: {failure.error()}")
        return [message for message in messages if message.error() is None]


class ConsumeBench:
    """One ConsumeBench under way: its consumers, each in a thread."""

    def __init__(self, consuming: Sequence[Consuming], processor: Processor | None, channel: Channel) -> None:
        self._consuming, self._processor, self._channel = consuming, processor, channel
        self._failures: list[str] = []

    def status(self) -> dict[str, Any]:
        """Client id → its status."""
        return {consuming.client_id: consuming.status(self._processor) for consuming in self._consuming}

    def consume_all(self) -> None:
        """Runs every consumer to its end. Raises WorkloadError with the first failure."""
        threads = [threading.Thread(target=self._run, args=(one,), name=one.client_id) for one in self._consuming]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failures:
            raise WorkloadError(self._failures[0])

    def _run(self, consuming: Consuming) -> None:
        try:
            consuming.consume(self._processor)
            close(consuming.client)
        except (KafkaException, RuntimeError) as failure:
            self._failures.append(reason(failure))
            self._channel.stop.set()


def consumers(spec: ConsumeBenchSpec, channel: Channel) -> list[Consuming]:
    """A consumer for each thread, with its topics or partitions. Raises WorkloadError."""
    wanted = subscriptions(spec.active_topics)
    named = any(wanted.values())
    if named and spec.consumer_group and spec.threads_per_worker > 1:
        raise WorkloadError(SAME_GROUP)
    made = [_make(spec, index, channel) for index in range(spec.threads_per_worker)]
    assigned = _assignment(made[0].client, wanted) if named and made else []
    for consuming in made:
        if named:
            consuming.client.assign(assigned)
        else:
            consuming.client.subscribe(list(wanted))
    return made


def _make(spec: ConsumeBenchSpec, index: int, channel: Channel) -> Consuming:
    group = {"group.id": spec.consumer_group or f"consume-bench-{uuid.uuid4()}", "auto.offset.reset": "earliest"}
    base = base_of(spec, index, channel) | group
    conf = conf_of("consumer", channel, base, spec.common_client_conf, spec.consumer_conf)
    return Consuming(consumer(conf, channel), base["client.id"], spec, conf.max_poll_records, channel)


def base_of(spec: ConsumeBenchSpec | ShareConsumeBenchSpec, index: int, channel: Channel) -> dict[str, str]:
    """The Java properties of a consumer, whatever its group: the thread's number is in its id."""
    return {
        "bootstrap.servers": spec.bootstrap_servers,
        "client.id": f"consumer.{channel.task_id}-{index}",
        "max.poll.interval.ms": str(MAX_POLL_INTERVAL_MS),
    }


def _assignment(client: Consumer, wanted: dict[str, list[int]]) -> list[TopicPartition]:
    return [
        TopicPartition(topic, number)
        for topic, numbers in wanted.items()
        for number in numbers or topic_partitions(client, topic)
    ]


def consume_bench(spec: ConsumeBenchSpec, channel: Channel) -> None:
    """Runs a ConsumeBench until every consumer has its messages or it is stopped. Raises WorkloadError."""
    run_consumers(spec, channel, consumers)


def run_consumers(spec: Bench, channel: Channel, made: Callable[[Bench, Channel], Sequence[Consuming]]) -> None:
    """Runs the consumers made for a spec until each has its messages or it is stopped. Raises WorkloadError."""
    processor = Processor(spec.record_processor) if spec.record_processor is not None else None
    consuming = made(spec, channel)
    channel.log(f"Will consume from {', '.join(spec.active_topics)} with {len(consuming)} consumer(s)")
    bench = ConsumeBench(consuming, processor, channel)
    with channel.reporting(bench.status):
        bench.consume_all()


if __name__ == "__main__":
    run(consume_bench)
