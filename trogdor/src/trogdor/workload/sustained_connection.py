"""SustainedConnection: keeps producers, consumers and metadata clients connected, and counts what fails."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from trogdor.spec import generators as g
from trogdor.spec.workload import SustainedConnectionSpec
from trogdor.workload.channel import Channel, run
from trogdor.workload.clients import WorkloadError, admin, conf_of, consumer, producer, reason, topic_partitions
from trogdor.workload.payloads import Generate, generator

BACKOFF_S = 0.01
POLL_S = 0.05
METADATA_TIMEOUT_S = 60.0
DELIVERY_TIMEOUT_S = 120.0
MAX_FAILURES_LOGGED = 10


class MetadataConnection:
    """An admin client that asks for the brokers."""

    def __init__(self, spec: SustainedConnectionSpec, channel: Channel) -> None:
        base = {"bootstrap.servers": spec.bootstrap_servers}
        self._client: AdminClient = admin(conf_of("admin", channel, base, spec.common_client_conf), channel)

    def refresh(self) -> None:
        self._client.list_topics(timeout=METADATA_TIMEOUT_S)

    def close(self) -> None:
        del self._client


class ProducerConnection:
    """A producer that sends one message and waits for its acknowledgement, to one partition after another."""

    def __init__(self, spec: SustainedConnectionSpec, channel: Channel, keys: Generate, values: Generate) -> None:
        base = {"bootstrap.servers": spec.bootstrap_servers}
        conf = conf_of("producer", channel, base, spec.common_client_conf, spec.producer_conf)
        self._client: Producer = producer(conf, channel)
        self._topic, self._keys, self._values = spec.topic_name, keys, values
        self._partitions = topic_partitions(self._client, self._topic)
        random.shuffle(self._partitions)
        self._position = 0

    def refresh(self) -> None:
        position, failures = self._position, []
        self._position += 1
        self._client.produce(
            self._topic, self._values(position), self._keys(position),
            self._partitions[position % len(self._partitions)],
            on_delivery=lambda error, message: failures.append(error) if error is not None else None,
        )  # fmt: skip
        if self._client.flush(DELIVERY_TIMEOUT_S):
            raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))
        if failures:
            raise KafkaException(failures[0])

    def close(self) -> None:
        del self._client


class ConsumerConnection:
    """A consumer at the end of one partition, chosen at random."""

    def __init__(self, spec: SustainedConnectionSpec, channel: Channel) -> None:
        base = {
            "bootstrap.servers": spec.bootstrap_servers, "auto.offset.reset": "latest", "fetch.max.bytes": "1024",
            "group.id": f"sustained-connection-{channel.task_id}", "enable.auto.commit": "false",
            "max.partition.fetch.bytes": "1024", "max.poll.records": "1", "librdkafka.message.max.bytes": "1000",
        }  # fmt: skip
        conf = conf_of("consumer", channel, base, spec.common_client_conf, spec.consumer_conf)
        self._client: Consumer = consumer(conf, channel)
        self._partition = TopicPartition(
            spec.topic_name, random.choice(topic_partitions(self._client, spec.topic_name)), OFFSET_END
        )
        self._client.assign([self._partition])

    def refresh(self) -> None:
        self._client.assign([self._partition])
        message = self._client.poll(POLL_S)
        if message is not None and (error := message.error()) is not None:
            raise KafkaException(error)

    def close(self) -> None:
        self._client.close()


Connection = MetadataConnection | ProducerConnection | ConsumerConnection


class Sustained:
    """One connection: made when it is first due, refreshed every ``refreshRateMs``, made anew after a failure."""

    def __init__(self, kind: str, make: Callable[[], Connection]) -> None:
        self.kind, self.make = kind, make
        self.connection: Connection | None = None
        self.due = 0.0
        self.in_use = False


class SustainedConnection:
    """One SustainedConnection under way, on several threads."""

    def __init__(self, spec: SustainedConnectionSpec, channel: Channel) -> None:
        self._spec, self._channel = spec, channel
        keys = spec.key_generator or g.NullPayload()
        values = spec.value_generator or g.NullPayload()

        def produce() -> Connection:
            return ProducerConnection(spec, channel, generator(keys), generator(values))

        self._all = [
            *(Sustained("Producer", produce) for _ in range(spec.producer_connection_count)),
            *(
                Sustained("Consumer", lambda: ConsumerConnection(spec, channel))
                for _ in range(spec.consumer_connection_count)
            ),
            *(
                Sustained("Metadata", lambda: MetadataConnection(spec, channel))
                for _ in range(spec.metadata_connection_count)
            ),
        ]
        self._open: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._aborted_threads = 0
        self._lock = threading.Lock()

    def status(self) -> dict[str, Any]:
        """Upstream's SustainedConnectionWorker.StatusData."""
        status: dict[str, Any] = {}
        with self._lock:
            for kind in ("Producer", "Consumer", "Metadata"):
                status[f"total{kind}Connections"] = self._open[kind]
                status[f"total{kind}FailedConnections"] = self._failed[kind]
        return {**status, "totalAbortedThreads": self._aborted_threads, "updatedMs": time.time_ns() // 1_000_000}

    def run(self) -> None:
        """Keeps every connection until the workload is stopped."""
        threads = [
            threading.Thread(target=self._maintain, name=f"maintain-{at}") for at in range(self._spec.num_threads)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for one in self._all:
            if one.connection is not None:
                one.connection.close()

    def _maintain(self) -> None:
        try:
            while not self._channel.stop.is_set():
                one = self._claim()
                if one is None:
                    self._channel.stop.wait(BACKOFF_S)
                    continue
                self._refresh(one)
                with self._lock:
                    one.due = time.monotonic() + self._spec.refresh_rate_ms / 1000
                    one.in_use = False
        except Exception as failure:
            with self._lock:
                self._aborted_threads += 1
            self._channel.log(f"a thread that maintains connections ends: {failure!r}")

    def _claim(self) -> Sustained | None:
        now = time.monotonic()
        with self._lock:
            for one in self._all:
                if not one.in_use and now > one.due:
                    one.in_use = True
                    return one
        return None

    def _refresh(self, one: Sustained) -> None:
        try:
            if one.connection is None:
                one.connection = one.make()
                with self._lock:
                    self._open[one.kind] += 1
            one.connection.refresh()
        except (KafkaException, WorkloadError) as failure:
            self._fail(one, reason(failure))

    def _fail(self, one: Sustained, why: str) -> None:
        with self._lock:
            self._failed[one.kind] += 1
            if one.connection is not None:
                self._open[one.kind] -= 1
            logged = sum(self._failed.values()) <= MAX_FAILURES_LOGGED
        if logged:
            self._channel.log(f"{one.kind.lower()} connection failed: {why}")
        if one.connection is not None:
            one.connection.close()
            one.connection = None


def sustained_connection(spec: SustainedConnectionSpec, channel: Channel) -> None:
    """Runs a SustainedConnection until it is stopped."""
    sustained = SustainedConnection(spec, channel)
    with channel.reporting(sustained.status):
        sustained.run()


if __name__ == "__main__":
    run(sustained_connection)
