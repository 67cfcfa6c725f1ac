"""librdkafka's producer by its C interface: runs of messages in, stretches of acknowledgements out.

confluent-kafka brings the library and all other clients. Its own producer takes a Python object for each message and
calls back for each acknowledgement, which costs more than all that librdkafka does. Declarations are those of
librdkafka 2's rdkafka.h on 64 bits; how it behaves beyond them is in its rdkafka_msg.c (``rd_kafka_produce_batch``),
rdkafka_event.c and rdkafka_broker.c (``rd_kafka_dr_msgq0``: a report's messages share its error).
"""

import ctypes
import threading
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, cimpl

from trogdor.workload.columns import WORD_BYTES, Column

Handle = ctypes.c_void_p
OnDelivery = Callable[[int, int, int], None]
"""``on_delivery(opaque, count, code)``: so many messages in a row, sent with the same opaque number, were acknowledged,
or given up with a code that is not 0."""

PRODUCER, CONF_OK = 0, 0
COPIED = 0x2
"""RD_KAFKA_MSG_F_COPY: what a message points at is free again when the call returns."""

DELIVERY, ERROR = 0x1, 0x8
"""RD_KAFKA_EVENT_DR and RD_KAFKA_EVENT_ERROR."""

MAX_REPORTED = 10_000
"""So many acknowledgements are looked at together: what a batch of librdkafka has at most, unless configured."""

MAX_POLL_S = 0.1


class Message(ctypes.Structure):
    """``rd_kafka_message_t``."""

    _fields_ = (
        ("err", ctypes.c_int),
        ("rkt", Handle),
        ("partition", ctypes.c_int32),
        ("payload", Handle),
        ("len", ctypes.c_size_t),
        ("key", Handle),
        ("key_len", ctypes.c_size_t),
        ("offset", ctypes.c_int64),
        ("opaque", Handle),
    )


WORDS = ctypes.sizeof(Message) // WORD_BYTES
PAYLOAD, LENGTH, KEY, KEY_LENGTH, OPAQUE = (
    getattr(Message, name).offset // WORD_BYTES for name in ("payload", "len", "key", "key_len", "opaque")
)


def _library() -> ctypes.CDLL:
    """The librdkafka that confluent-kafka's extension is linked with, whose names are found through the extension."""
    library = ctypes.CDLL(cimpl.__file__)
    text, number, size = ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
    for name, result, *arguments in (
        ("conf_new", Handle),
        ("conf_set", number, Handle, text, text, text, size),
        ("conf_set_events", None, Handle, number),
        ("conf_destroy", None, Handle),
        ("new", Handle, number, Handle, text, size),
        ("destroy", None, Handle),
        ("topic_new", Handle, Handle, text, Handle),
        ("topic_destroy", None, Handle),
        ("produce_batch", number, Handle, ctypes.c_int32, number, Handle, number),
        ("metadata", number, Handle, number, Handle, Handle, number),
        ("metadata_destroy", None, Handle),
        ("outq_len", number, Handle),
        ("flush", number, Handle, number),
        ("queue_get_main", Handle, Handle),
        ("queue_destroy", None, Handle),
        ("queue_poll", Handle, Handle, number),
        ("event_type", number, Handle),
        ("event_message_array", size, Handle, Handle, size),
        ("event_error", number, Handle),
        ("event_error_string", text, Handle),
        ("event_destroy", None, Handle),
        ("init_transactions", Handle, Handle, number),
        ("begin_transaction", Handle, Handle),
        ("commit_transaction", Handle, Handle, number),
        ("last_error", number),
        ("error_code", number, Handle),
        ("error_string", text, Handle),
        ("error_is_retriable", number, Handle),
        ("error_destroy", None, Handle),
    ):
        function = getattr(library, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return library


_LIB = _library()


def _ms(seconds: float) -> int:
    return max(int(seconds * 1000), 0)


def _configured(properties: Mapping[str, Any]) -> int:
    """A new ``rd_kafka_conf_t``. Raises KafkaException when librdkafka refuses a value."""
    conf, why = _LIB.rd_kafka_conf_new(), ctypes.create_string_buffer(512)
    for name, value in properties.items():
        told = str(value).lower() if isinstance(value, bool) else str(value)
        if _LIB.rd_kafka_conf_set(conf, name.encode(), told.encode(), why, len(why)) != CONF_OK:
            _LIB.rd_kafka_conf_destroy(conf)
            raise KafkaException(KafkaError(KafkaError._INVALID_ARG, why.value.decode()))
    _LIB.rd_kafka_conf_set_events(conf, DELIVERY | ERROR)
    return int(conf)


def _check(error: int | None) -> None:
    """Raises what a ``rd_kafka_error_t`` says, as KafkaException."""
    if error:
        code, text = _LIB.rd_kafka_error_code(error), _LIB.rd_kafka_error_string(error).decode()
        retriable = bool(_LIB.rd_kafka_error_is_retriable(error))
        _LIB.rd_kafka_error_destroy(error)
        raise KafkaException(KafkaError(code, text, retriable=retriable))


def _opaque(address: int) -> int:
    return ctypes.c_uint64.from_address(address + OPAQUE * WORD_BYTES).value


class Producer:
    """A producer, used from one thread.

    ``properties`` are librdkafka's, and ``error_cb``, as confluent-kafka's. Raises KafkaException when one is refused.
    """

    def __init__(self, properties: Mapping[str, Any], on_delivery: OnDelivery) -> None:
        given = dict(properties)
        self._on_error: Callable[[KafkaError], None] = given.pop("error_cb", lambda error: None)
        self._on_delivery = on_delivery
        conf, why = _configured(given), ctypes.create_string_buffer(512)
        self._handle = _LIB.rd_kafka_new(PRODUCER, conf, why, len(why))
        if not self._handle:
            _LIB.rd_kafka_conf_destroy(conf)
            raise KafkaException(KafkaError(KafkaError._INVALID_ARG, why.value.decode()))
        self._queue = _LIB.rd_kafka_queue_get_main(self._handle)
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
            if not _LIB.rd_kafka_metadata(self._handle, 0, None, ctypes.byref(answer), _ms(seconds)):
                _LIB.rd_kafka_metadata_destroy(answer)

    def __len__(self) -> int:
        """How many messages are under way, or acknowledged but not yet taken by ``poll``."""
        return int(_LIB.rd_kafka_outq_len(self._handle))

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
        if _LIB.rd_kafka_produce_batch(self._topic(topic), partition, COPIED, self._messages, count) == count:
            return {}
        return {at: self._messages[at].err for at in range(count) if self._messages[at].err}

    def _topic(self, name: str) -> int:
        if name not in self._topics:
            topic = _LIB.rd_kafka_topic_new(self._handle, name.encode(), None)
            if not topic:
                raise KafkaException(KafkaError(_LIB.rd_kafka_last_error(), f"topic {name!r}"))
            self._topics[name] = topic
        return self._topics[name]

    def poll(self, seconds: float) -> bool:
        """Takes the acknowledgements and errors that there are, waiting at most so long for the first.

        Whether there was an acknowledgement.
        """
        wait_ms, delivered = _ms(seconds), False
        while event := _LIB.rd_kafka_queue_poll(self._queue, wait_ms):
            try:
                delivered |= self._take(event)
            finally:
                _LIB.rd_kafka_event_destroy(event)
            wait_ms = 0
        return delivered

    def _take(self, event: int) -> bool:
        kind = _LIB.rd_kafka_event_type(event)
        if kind == DELIVERY:
            self._report(event)
        elif kind == ERROR:
            text = _LIB.rd_kafka_event_error_string(event).decode()
            self._on_error(KafkaError(_LIB.rd_kafka_event_error(event), text))
        return bool(kind == DELIVERY)

    def _report(self, event: int) -> None:
        """Messages of one partition come in the order in which they were sent: equal opaque numbers are neighbours."""
        while count := _LIB.rd_kafka_event_message_array(event, self._report_to, MAX_REPORTED):
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
        sending = threading.Thread(target=partial(_LIB.rd_kafka_flush, self._handle, _ms(seconds)), name="flushing")
        sending.start()
        while len(self) and (left := deadline - time.monotonic()) > 0:
            self.poll(min(left, MAX_POLL_S))
        sending.join()

    def init_transactions(self, seconds: float) -> None:
        """Raises KafkaException, retriable when it is to be called again to go on, as ``commit_transaction``."""
        _check(_LIB.rd_kafka_init_transactions(self._handle, _ms(seconds)))

    def begin_transaction(self) -> None:
        """Raises KafkaException."""
        _check(_LIB.rd_kafka_begin_transaction(self._handle))

    def commit_transaction(self, seconds: float) -> None:
        """Commits what was produced and flushed. Raises KafkaException."""
        _check(_LIB.rd_kafka_commit_transaction(self._handle, _ms(seconds)))

    def close(self) -> None:
        """Gives up what is under way."""
        for topic in self._topics.values():
            _LIB.rd_kafka_topic_destroy(topic)
        _LIB.rd_kafka_queue_destroy(self._queue)
        _LIB.rd_kafka_destroy(self._handle)
