"""What producer and consumer share of librdkafka: its functions, messages, configuration and errors."""

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, cimpl

from trogdor.workload.columns import WORD_BYTES

Handle = ctypes.c_void_p
OnError = Callable[[KafkaError], None]

PRODUCER, CONSUMER = 0, 1
CONF_OK = 0


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
ERROR, PAYLOAD, LENGTH, KEY, KEY_LENGTH, OPAQUE = (
    getattr(Message, name).offset // WORD_BYTES for name in ("err", "payload", "len", "key", "key_len", "opaque")
)
"""Where in a message each field is, in words; the word of its error is 0 when it has none."""


class TopicPartition(ctypes.Structure):
    """``rd_kafka_topic_partition_t``."""

    _fields_ = (
        ("topic", ctypes.c_char_p),
        ("partition", ctypes.c_int32),
        ("offset", ctypes.c_int64),
        ("metadata", Handle),
        ("metadata_size", ctypes.c_size_t),
        ("opaque", Handle),
        ("err", ctypes.c_int),
        ("private", Handle),
    )


class TopicPartitions(ctypes.Structure):
    """``rd_kafka_topic_partition_list_t``."""

    _fields_ = (("count", ctypes.c_int), ("size", ctypes.c_int), ("elements", ctypes.POINTER(TopicPartition)))


def _library() -> ctypes.CDLL:
    """The librdkafka that confluent-kafka's extension is linked with, whose names are found through the extension."""
    library = ctypes.CDLL(cimpl.__file__)
    text, number, size = ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
    partition, offset = ctypes.c_int32, ctypes.POINTER(ctypes.c_int64)
    for name, result, *arguments in (
        ("conf_new", Handle),
        ("conf_set", number, Handle, text, text, text, size),
        ("conf_set_events", None, Handle, number),
        ("conf_set_error_cb", None, Handle, Handle),
        ("conf_destroy", None, Handle),
        ("new", Handle, number, Handle, text, size),
        ("destroy", None, Handle),
        ("topic_new", Handle, Handle, text, Handle),
        ("topic_destroy", None, Handle),
        ("produce_batch", number, Handle, partition, number, Handle, number),
        ("metadata", number, Handle, number, Handle, Handle, number),
        ("metadata_destroy", None, Handle),
        ("outq_len", number, Handle),
        ("flush", number, Handle, number),
        ("queue_get_main", Handle, Handle),
        ("queue_get_consumer", Handle, Handle),
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
        ("poll_set_consumer", number, Handle),
        ("subscribe", number, Handle, Handle),
        ("assign", number, Handle, Handle),
        ("assignment", number, Handle, Handle),
        ("query_watermark_offsets", number, Handle, text, partition, offset, offset, number),
        ("topic_partition_list_new", Handle, number),
        ("topic_partition_list_add", ctypes.POINTER(TopicPartition), Handle, text, partition),
        ("topic_partition_list_destroy", None, Handle),
        ("consume_batch_queue", ctypes.c_ssize_t, Handle, number, Handle, size),
        ("consumer_close", number, Handle),
        ("message_errstr", text, Handle),
        ("messages_count", size, Handle),
        ("messages_get", Handle, Handle, size),
        ("messages_destroy", None, Handle),
        ("last_error", number),
        ("error_code", number, Handle),
        ("error_string", text, Handle),
        ("error_is_retriable", number, Handle),
        ("error_destroy", None, Handle),
    ):
        function = getattr(library, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return library


LIB = _library()


def ms(seconds: float) -> int:
    """Seconds as librdkafka takes them."""
    return max(int(seconds * 1000), 0)


def configured(properties: Mapping[str, Any]) -> int:
    """A new ``rd_kafka_conf_t``. Raises KafkaException when librdkafka refuses a value."""
    conf, why = LIB.rd_kafka_conf_new(), ctypes.create_string_buffer(512)
    for name, value in properties.items():
        told = str(value).lower() if isinstance(value, bool) else str(value)
        if LIB.rd_kafka_conf_set(conf, name.encode(), told.encode(), why, len(why)) != CONF_OK:
            LIB.rd_kafka_conf_destroy(conf)
            raise KafkaException(KafkaError(KafkaError._INVALID_ARG, why.value.decode()))
    return int(conf)


def client(kind: int, conf: int) -> int:
    """A new ``rd_kafka_t``, PRODUCER or CONSUMER, which owns ``conf``. Raises KafkaException when it is refused."""
    why = ctypes.create_string_buffer(512)
    handle = LIB.rd_kafka_new(kind, conf, why, len(why))
    if not handle:
        LIB.rd_kafka_conf_destroy(conf)
        raise KafkaException(KafkaError(KafkaError._INVALID_ARG, why.value.decode()))
    return int(handle)


def check_code(code: int) -> None:
    """Raises what a ``rd_kafka_resp_err_t`` says, as KafkaException."""
    if code:
        raise KafkaException(KafkaError(code))


def check(error: int | None) -> None:
    """Raises what a ``rd_kafka_error_t`` says, as KafkaException."""
    if error:
        code, text = LIB.rd_kafka_error_code(error), LIB.rd_kafka_error_string(error).decode()
        retriable = bool(LIB.rd_kafka_error_is_retriable(error))
        LIB.rd_kafka_error_destroy(error)
        raise KafkaException(KafkaError(code, text, retriable=retriable))
