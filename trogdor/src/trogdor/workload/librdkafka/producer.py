"""A producer: runs of messages in, stretches of acknowledgements out.

How librdkafka behaves here is in its rdkafka_msg.c (``rd_kafka_produce_batch``), rdkafka_event.c and rdkafka_broker.c
(``rd_kafka_dr_msgq0``: a report's messages share its error).
"""

import ctypes
import threading
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from trogdor.workload.columns import WORD_BYTES, Column
from trogdor.workload.librdkafka.library import (
    KEY,
    KEY_LENGTH,
    LENGTH,
    LIB,
    OPAQUE,
    PAYLOAD,
    PRODUCER,
    WORDS,
    Handle,
    Message,
    OnError,
    check,
    client,
    configured,
    ms,
)

OnDelivery = Callable[[int, int, int], None]
"""``on_delivery(opaque, count, code)``: so many messages in a row, sent with the same opaque number, were acknowledged,
or given up with a code that is not 0."""

COPIED = 0x2
"""RD_KAFKA_MSG_F_COPY: what a message points at is free again when the call returns."""

DELIVERY, ERROR = 0x1, 0x8
"""RD_KAFKA_EVENT_DR and RD_KAFKA_EVENT_ERROR."""

MAX_REPORTED = 10_000
"""So many acknowledgements are looked at together: what a batch of librdkafka has at most, unless configured."""

MAX_POLL_S = 0.1


def _opaque(address: int) -> int:
    return ctypes.c_uint64.from_address(address + OPAQUE * WORD_BYTES).value


class Producer:
    """A producer, used from one thread.

    ``properties`` are librdkafka's, and ``error_cb``, as confluent-kafka's. Raises KafkaException when one is refused.
    """

    def __init__(self, properties: Mapping[str, Any], on_delivery: OnDelivery) -> None:
        given = dict(properties)
        self._on_error: OnError = given.pop("error_cb", lambda error: None)
        self._on_delivery = on_delivery
        conf = configured(given)
        LIB.rd_kafka_conf_set_events(conf, DELIVERY | ERROR)
        self._handle = client(PRODUCER, conf)
        self._queue = LIB.rd_kafka_queue_get_main(self._handle)
        self._topics: dict[str, int] = {}
        self._reserve(1)
        reported = (ctypes.c_uint64 * MAX_REPORTED)()
        self._reported = memoryview(reported).cast("B").cast("Q")
        self._report_to = ctypes.addressof(reported)

    def _reserve(self, count: int) -> None:
        self._messages = (Message * count)()
        self._words = memoryview(self._messages).cast("B").cast("Q")

    def connect(self, seconds: float) -> None:
        """Asks twice who the brokers are, at most so long each time, so that the first messages need not wait.

        An answer has librdkafka ask for an idempotent producer's id (rdkafka_idempotence.c): after the first one a
        bootstrap server, whose connection ends just then, and without a second one another half a second later.
        """
        for _ in range(2):
            answer = Handle()
            if not LIB.rd_kafka_metadata(self._handle, 0, None, ctypes.byref(answer), ms(seconds)):
                LIB.rd_kafka_metadata_destroy(answer)

    def __len__(self) -> int:
        """How many messages are under way, or acknowledged but not yet taken by ``poll``."""
        return int(LIB.rd_kafka_outq_len(self._handle))

    def produce(
        self, topic: str, partition: int, keys: Column, values: Column, opaques: "array[int]"
    ) -> dict[int, int]:
        """Hands messages to librdkafka, which copies them; those it refused, by number, each with its error's code.

        Where there is no room for one (``KafkaError._QUEUE_FULL``), there is none for those behind it. What was not
        refused is told to ``on_delivery`` by a later ``poll``, with its opaque number. Raises KafkaException for a name
        that no topic can have.
        """
        count = len(opaques)
        if count > len(self._messages):
            self._reserve(count)
        words, end = self._words, count * WORDS
        words[PAYLOAD:end:WORDS] = values.addresses
        words[LENGTH:end:WORDS] = values.lengths
        words[KEY:end:WORDS] = keys.addresses
        words[KEY_LENGTH:end:WORDS] = keys.lengths
        words[OPAQUE:end:WORDS] = opaques
        if LIB.rd_kafka_produce_batch(self._topic(topic), partition, COPIED, self._messages, count) == count:
            return {}
        return {at: self._messages[at].err for at in range(count) if self._messages[at].err}

    def _topic(self, name: str) -> int:
        if name not in self._topics:
            topic = LIB.rd_kafka_topic_new(self._handle, name.encode(), None)
            if not topic:
                raise KafkaException(KafkaError(LIB.rd_kafka_last_error(), f"topic {name!r}"))
            self._topics[name] = topic
        return self._topics[name]

    def poll(self, seconds: float) -> bool:
        """Takes the acknowledgements and errors that there are, waiting at most so long for the first.

        Whether there was an acknowledgement.
        """
        wait_ms, delivered = ms(seconds), False
        while event := LIB.rd_kafka_queue_poll(self._queue, wait_ms):
            try:
                delivered |= self._take(event)
            finally:
                LIB.rd_kafka_event_destroy(event)
            wait_ms = 0
        return delivered

    def _take(self, event: int) -> bool:
        kind = LIB.rd_kafka_event_type(event)
        if kind == DELIVERY:
            self._report(event)
        elif kind == ERROR:
            text = LIB.rd_kafka_event_error_string(event).decode()
            self._on_error(KafkaError(LIB.rd_kafka_event_error(event), text))
        return bool(kind == DELIVERY)

    def _report(self, event: int) -> None:
        """Messages of one partition come in the order in which they were sent: equal opaque numbers are neighbours."""
        while count := LIB.rd_kafka_event_message_array(event, self._report_to, MAX_REPORTED):
            at = 0
            while at < count:
                address = self._reported[at]
                opaque = _opaque(address)
                end = bisect_right(self._reported, opaque, at, count, key=_opaque)
                self._on_delivery(opaque, end - at, Message.from_address(address).err)
                at = end

    def flush(self, seconds: float) -> None:
        """Has all sent without further delay, and takes acknowledgements until there are none left, or so long.

        ``rd_kafka_flush`` lifts ``linger.ms`` while it waits, and leaves acknowledgements to others.
        """
        if not len(self):
            return
        deadline = time.monotonic() + seconds
        sending = threading.Thread(target=partial(LIB.rd_kafka_flush, self._handle, ms(seconds)), name="flushing")
        sending.start()
        while len(self) and (left := deadline - time.monotonic()) > 0:
            self.poll(min(left, MAX_POLL_S))
        sending.join()

    def init_transactions(self, seconds: float) -> None:
        """Raises KafkaException, retriable when it is to be called again to go on, as ``commit_transaction``."""
        check(LIB.rd_kafka_init_transactions(self._handle, ms(seconds)))

    def begin_transaction(self) -> None:
        """Raises KafkaException."""
        check(LIB.rd_kafka_begin_transaction(self._handle))

    def commit_transaction(self, seconds: float) -> None:
        """Commits what was produced and flushed. Raises KafkaException."""
        check(LIB.rd_kafka_commit_transaction(self._handle, ms(seconds)))

    def close(self) -> None:
        """Gives up what is under way."""
        for topic in self._topics.values():
            LIB.rd_kafka_topic_destroy(topic)
        LIB.rd_kafka_queue_destroy(self._queue)
        LIB.rd_kafka_destroy(self._handle)
