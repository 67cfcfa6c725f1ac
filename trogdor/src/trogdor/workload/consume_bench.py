"""ConsumeBench: consumes messages, with one or several consumers, and measures how many, how large, how often."""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, Protocol, TypeVar

from confluent_kafka import OFFSET_INVALID, KafkaError

from trogdor.spec.generators import TimestampProcessor
from trogdor.spec.workload import ConsumeBenchSpec, ShareConsumeBenchSpec
from trogdor.workload.channel import Channel, run
from trogdor.workload.client_properties import ClientConf
from trogdor.workload.clients import WorkloadError, close, conf_of, consumer, made, reason, topic_partitions
from trogdor.workload.columns import Column
from trogdor.workload.histogram import Histogram, float32
from trogdor.workload.librdkafka.consumer import Consumer
from trogdor.workload.pacing import Pace, per_second, unlimited
from trogdor.workload.producing import latency_fields
from trogdor.workload.topics import subscriptions

Bench = TypeVar("Bench", ConsumeBenchSpec, ShareConsumeBenchSpec)

STAMP = Struct("<q")
"""What a timestamp payload begins with: ms since 1970."""

POLL_S = 0.05
ASSIGNED_S = 0.5
"""So seldom a consumer is asked for its partitions, which may be thousands."""

MAX_POLL_INTERVAL_MS = 100_000
MAX_ERRORS_LOGGED = 10
SAME_GROUP = (
    "You may not specify an explicit partition assignment when using multiple consumers in the same group."
    "Please leave the consumer group unset, specify topics instead of partitions or use a single consumer."
)


class Polled(Protocol):
    """The messages of one poll."""

    failures: list[KafkaError]

    def __len__(self) -> int: ...

    @property
    def size(self) -> int:
        """The bytes of all keys and values."""
        ...

    @property
    def values(self) -> Column: ...


class Client(Protocol):
    """A consumer, or a member of a share group."""

    def poll(self, most: int, seconds: float) -> Polled: ...

    def assignment(self) -> list[tuple[str, int]]: ...

    def close(self) -> None: ...


class Processor:
    """How late messages with a timestamp payload come, in steps of ms (TimestampRecordProcessor)."""

    def __init__(self, wanted: TimestampProcessor) -> None:
        if wanted.histogram_step_ms <= 0:
            raise WorkloadError("histogramStepMs: a number of ms above 0 is wanted")
        self._least, self._step = wanted.histogram_min_ms, wanted.histogram_step_ms
        self._last = max((wanted.histogram_max_ms - self._least) // self._step, 0)
        self._histogram = Histogram()
        self._lock = threading.Lock()

    def process(self, values: Column) -> None:
        """Takes the messages of one poll; those without a timestamp are passed over."""
        now = time.time_ns() // 1_000_000
        for stamp in values.numbers(STAMP):
            with self._lock:
                self._histogram.record(min((now - stamp - self._least) // self._step, self._last))

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
        client: Client,
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
                processor.process(messages.values)
            self._latencies.record(elapsed_ms, len(messages))
            self._bytes += messages.size
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

    def _poll(self, most: int) -> Polled:
        """What there is, at most so many, waiting a little for the first; the first errors are logged."""
        messages = self.client.poll(most, POLL_S)
        if messages and (now := time.monotonic()) > self._assigned_until:
            self._assigned = [f"{topic}-{number}" for topic, number in self.client.assignment()]
            self._assigned_until = now + ASSIGNED_S
        for failure in messages.failures[: max(MAX_ERRORS_LOGGED - self._errors, 0)]:
            self._channel.log(f"{self.client_id}: {failure}")
        self._errors += len(messages.failures)
        return messages


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
        except Exception as failure:  # whatever ends this thread is to end the others
            self._failures.append(reason(failure))
            self._channel.stop.set()


def consumers(spec: ConsumeBenchSpec, channel: Channel) -> list[Consuming]:
    """A consumer for each thread, with its topics or partitions. Raises WorkloadError."""
    wanted = subscriptions(spec.active_topics)
    named = any(wanted.values())
    if named and spec.consumer_group and spec.threads_per_worker > 1:
        raise WorkloadError(SAME_GROUP)
    confs = [_conf(spec, index, channel) for index in range(spec.threads_per_worker)]
    if named and confs and (whole := [topic for topic, numbers in wanted.items() if not numbers]):
        wanted |= _partitions(whole, confs[0], channel)
    consuming = []
    for index, conf in enumerate(confs):
        client = made(Consumer, conf.properties, channel)
        if named:
            client.assign((topic, number, OFFSET_INVALID) for topic, numbers in wanted.items() for number in numbers)
        else:
            client.subscribe(wanted)
        consuming.append(Consuming(client, client_id(index, channel), spec, conf.max_poll_records, channel))
    return consuming


def _conf(spec: ConsumeBenchSpec, index: int, channel: Channel) -> ClientConf:
    group = {"group.id": spec.consumer_group or f"consume-bench-{uuid.uuid4()}", "auto.offset.reset": "earliest"}
    base = base_of(spec, index, channel) | group
    return conf_of("consumer", channel, base, spec.common_client_conf, spec.consumer_conf)


def client_id(index: int, channel: Channel) -> str:
    """Whom the status tells of; the brokers too, unless the spec's properties name another."""
    return f"consumer.{channel.task_id}-{index}"


def base_of(spec: ConsumeBenchSpec | ShareConsumeBenchSpec, index: int, channel: Channel) -> dict[str, str]:
    """The Java properties of a consumer, whatever its group."""
    return {
        "bootstrap.servers": spec.bootstrap_servers,
        "client.id": client_id(index, channel),
        "max.poll.interval.ms": str(MAX_POLL_INTERVAL_MS),
    }


def _partitions(topics: list[str], conf: ClientConf, channel: Channel) -> dict[str, list[int]]:
    """The partitions that topics have now. Raises WorkloadError."""
    asking = consumer(conf, channel)
    found = {topic: topic_partitions(asking, topic) for topic in topics}
    close(asking)
    return found


def consume_bench(spec: ConsumeBenchSpec, channel: Channel) -> None:
    """Runs a ConsumeBench until every consumer has its messages or it is stopped. Raises WorkloadError."""
    run_consumers(spec, channel, consumers)


def run_consumers(spec: Bench, channel: Channel, make: Callable[[Bench, Channel], Sequence[Consuming]]) -> None:
    """Runs the consumers made for a spec until each has its messages or it is stopped. Raises WorkloadError."""
    processor = Processor(spec.record_processor) if spec.record_processor is not None else None
    consuming = make(spec, channel)
    channel.log(f"Will consume from {', '.join(spec.active_topics)} with {len(consuming)} consumer(s)")
    bench = ConsumeBench(consuming, processor, channel)
    with channel.reporting(bench.status):
        bench.consume_all()


if __name__ == "__main__":
    run(consume_bench)
