"""RoundTrip: produces messages and consumes them again, until each has been acknowledged and has come back."""

import threading
import time
from array import array
from collections import deque
from collections.abc import Sequence
from functools import partial
from struct import Struct
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from trogdor.spec.generators import SequentialPayload
from trogdor.spec.workload import RoundTripWorkloadSpec
from trogdor.workload.channel import Channel, run
from trogdor.workload.client_properties import ClientConf
from trogdor.workload.clients import WorkloadError, close, conf_of, create_topics, made, reason
from trogdor.workload.columns import Column
from trogdor.workload.librdkafka.consumer import Consumer
from trogdor.workload.librdkafka.producer import Producer
from trogdor.workload.pacing import Pace, per_second
from trogdor.workload.payloads import batches
from trogdor.workload.producing import CONNECT_S, RUN, in_turn
from trogdor.workload.topics import active_partitions, materialize

KEY = Struct("<I")
POLL_S = 0.05
LOG_INTERVAL_S = 5.0
REQUEST_TIMEOUT_MS = "105000"
MAX_UNACKNOWLEDGED = 20_000
METADATA_TIMEOUT_S = 60.0
ASK_S = 10.0

ONLY_FAILURES = "delivery.report.only.error"
"""Who has no failure is told of nothing: a message's acknowledgement is seen by its leaving the producer's queue."""

WINDOW = 1 << 20
"""The most messages between the first that has not come back and the last sent: what bounds memory."""


class Outstanding:
    """Which messages are still to come back: one byte each, for a window of them. Used from two threads.

    A key holds the low 32 bits of its message's index, which are enough to tell those of one window apart.
    """

    def __init__(self) -> None:
        self._flags = bytearray(WINDOW)
        self._lock = threading.Lock()
        self.first = 0
        """Every message before this one has come back."""
        self.sent = 0
        self.received = 0

    def room(self) -> int:
        """How many further messages may be sent."""
        return WINDOW - (self.sent - self.first)

    def send(self, count: int) -> None:
        """The next ``count`` messages are under way; ``count`` is at most ``room()``."""
        with self._lock:
            start = self.sent % WINDOW
            end = min(start + count, WINDOW)
            self._flags[start:end] = b"\1" * (end - start)
            self._flags[: count - (end - start)] = b"\1" * (count - (end - start))
            self.sent += count

    def receive(self, keys: Sequence[int]) -> None:
        """Messages with these keys have come back; repeats and strangers do not count."""
        with self._lock:
            flags, came = self._flags, 0
            for key in keys:
                slot = key % WINDOW
                if flags[slot]:
                    flags[slot] = 0
                    came += 1
            self.received += came
            self._advance()

    def _advance(self) -> None:
        while self.first < self.sent:
            start = self.first % WINDOW
            end = min(start + self.sent - self.first, WINDOW)
            found = self._flags.find(1, start, end)
            self.first += (end if found < 0 else found) - start
            if found >= 0:
                return


class RoundTrip:
    """One RoundTrip under way: this thread produces, another consumes."""

    def __init__(self, spec: RoundTripWorkloadSpec, partitions: list[tuple[str, int]], channel: Channel) -> None:
        self._spec, self._partitions, self._channel = spec, partitions, channel
        self._keys, self._values = batches(SequentialPayload(size=KEY.size)), batches(spec.value_generator)
        self._outstanding = Outstanding()
        self._failed: deque[int] = deque()
        self._failure = ""
        task_id, base = channel.task_id, {"bootstrap.servers": spec.bootstrap_servers}
        base["request.timeout.ms"] = REQUEST_TIMEOUT_MS
        conf = conf_of(
            "producer", channel, {**base, "client.id": f"producer.{task_id}", "acks": "all"},
            spec.common_client_conf, spec.producer_conf,
        )  # fmt: skip
        told = {**conf.properties, ONLY_FAILURES: True}
        self._producer = made(partial(Producer, on_delivery=self._on_failure), told, channel)
        self._conf = self._consumer_conf({**base, "client.id": f"consumer.{task_id}"})
        self._consumer: Any = None
        self._pace = Pace(per_second(spec.target_messages_per_sec), self._serve, channel.stop.is_set)

    def _consumer_conf(self, base: dict[str, str]) -> ClientConf:
        base["group.id"] = f"round-trip-consumer-group-{self._channel.task_id}"
        base |= {"auto.offset.reset": "earliest", "max.poll.interval.ms": "100000"}
        return conf_of("consumer", self._channel, base, self._spec.common_client_conf, self._spec.consumer_conf)

    def _open(self) -> Any:
        """A consumer to which only what is sent from now on comes."""
        client = made(Consumer, self._conf.properties, self._channel)
        client.assign(_ends(client, self._partitions, self._channel))
        return client

    def _poll(self) -> Column:
        """The keys of the messages that have come."""
        keys: Column = self._consumer.poll(self._conf.max_poll_records, POLL_S).keys
        return keys

    def status(self) -> dict[str, Any]:
        """Upstream's RoundTripWorker.StatusData."""
        return {"totalUniqueSent": self._outstanding.sent, "totalReceived": self._outstanding.received}

    def run(self) -> None:
        """Until every message has been acknowledged and has come back, or the workload is stopped."""
        self._producer.connect(CONNECT_S)
        self._consumer = self._open()
        consuming = threading.Thread(target=self._consume, name="consuming")
        consuming.start()
        try:
            while not self._channel.stop.is_set() and not self._complete():
                if not self._send():
                    self._serve(POLL_S)
        except KafkaException as failure:
            self._failure = self._failure or reason(failure)
        finally:
            self._channel.stop.set()
            consuming.join()
        if self._failure:
            raise WorkloadError(self._failure)

    def _complete(self) -> bool:
        """Whether all have come back, and none is under way or to be sent again: each was acknowledged."""
        wanted, sent = self._spec.max_messages, self._outstanding.sent
        return sent >= wanted <= self._outstanding.received and not len(self._producer) and not self._failed

    def _send(self) -> int:
        """Sends the next run, failed messages first; how many messages that was."""
        room = min(MAX_UNACKNOWLEDGED - len(self._producer), RUN)
        fresh = min(self._spec.max_messages - self._outstanding.sent, self._outstanding.room())
        most = min(room, len(self._failed) or fresh)
        if most <= 0 or (count := self._pace.take(most)) == 0:
            return 0
        if self._failed:
            for index in [self._failed.popleft() for _ in range(count)]:  # they are few
                self._hand_over(index, 1)
        else:
            first = self._outstanding.sent
            self._outstanding.send(count)
            self._hand_over(first, count)
        self._producer.poll(0)
        return count

    def _hand_over(self, first: int, count: int) -> None:
        """Messages go to the partitions in turn; what the producer refuses counts as failed."""
        keys, values = self._keys(first, count), self._values(first, count)
        indices = array("Q", range(first, first + count))
        for topic, partition, part in in_turn(self._partitions, first, count):
            if refused := self._producer.produce(topic, partition, keys[part], values[part], indices[part]):
                self._failed.extend(indices[part][at] for at in refused)
                self._producer.poll(0.01)

    def _on_failure(self, index: int, count: int, code: int) -> None:
        self._channel.log(f"message {index} not acknowledged, sent again: {KafkaError(code).str()}")
        self._failed.append(index)

    def _serve(self, seconds: float) -> None:
        self._producer.poll(min(seconds, POLL_S))

    def _consume(self) -> None:
        logged = time.monotonic()
        try:
            while not self._channel.stop.is_set():
                if keys := self._poll():
                    self._outstanding.receive(keys.numbers(KEY, alone=True))
                if time.monotonic() - logged > LOG_INTERVAL_S:
                    logged = time.monotonic()
                    waiting = self._outstanding.sent - self._outstanding.received
                    self._channel.log(f"waiting for {waiting} message(s), from {self._outstanding.first} on")
            close(self._consumer)
        except Exception as failure:  # whatever ends this thread is to end the other
            self._failure = reason(failure)
            self._channel.stop.set()


def _ends(client: Consumer, partitions: list[tuple[str, int]], channel: Channel) -> list[tuple[str, int, int]]:
    """Where each partition ends now, so that what earlier runs left there is not taken for ours."""
    deadline = time.monotonic() + METADATA_TIMEOUT_S
    ends: list[tuple[str, int, int]] = []
    for topic, number in partitions:
        while True:
            try:
                ends.append((topic, number, client.end(topic, number, ASK_S)))
                break
            except KafkaException as failure:
                if time.monotonic() > deadline or channel.stop.wait(0.1):
                    raise WorkloadError(reason(failure)) from None
    return ends


def prepared(spec: RoundTripWorkloadSpec, channel: Channel) -> list[tuple[str, int]]:
    """The partitions of the topics, which are there when this returns. Raises WorkloadError."""
    if spec.target_messages_per_sec <= 0:
        raise WorkloadError("Can't have targetMessagesPerSec <= 0.")
    active = materialize(spec.active_topics)
    partitions = active_partitions(active)
    if not partitions:
        raise WorkloadError("You must specify at least one active topic.")
    create_topics(active, spec.bootstrap_servers, spec.common_client_conf, spec.admin_client_conf, channel)
    return partitions


def round_trip(spec: RoundTripWorkloadSpec, channel: Channel) -> None:
    """Runs a RoundTrip until every message has come back or it is stopped. Raises WorkloadError."""
    trip = RoundTrip(spec, prepared(spec, channel), channel)
    with channel.reporting(trip.status):
        trip.run()


if __name__ == "__main__":
    run(round_trip)
