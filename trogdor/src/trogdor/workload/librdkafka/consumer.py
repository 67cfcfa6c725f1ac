"""A consumer: as many messages at once as there are, of which only what is asked for is read.

How librdkafka behaves here is in its rdkafka_queue.c (``rd_kafka_q_serve_rkmessages``: a message that is taken counts
for the offset that is committed, as with every other poll), rdkafka_cgrp.c (``rd_kafka_rebalance_op``: whoever has no
callback for it has partitions assigned and taken away at once) and rdkafka.c (``rd_kafka_messages_destroy``).
"""

import ctypes
from array import array
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from operator import itemgetter
from typing import Any

from confluent_kafka import OFFSET_INVALID, KafkaError

from trogdor.workload.columns import MEMORY, WORD_BYTES, Column
from trogdor.workload.librdkafka.library import (
    CONSUMER,
    ERROR,
    KEY,
    KEY_LENGTH,
    LENGTH,
    LIB,
    PAYLOAD,
    Handle,
    Message,
    OnError,
    TopicPartitions,
    check_code,
    client,
    configured,
    ms,
)

_LIBC = ctypes.CDLL(None)
_LIBC.malloc.restype, _LIBC.malloc.argtypes = Handle, (ctypes.c_size_t,)

ERROR_CALLBACK = ctypes.CFUNCTYPE(None, Handle, ctypes.c_int, ctypes.c_char_p, Handle)


class Messages:
    """What one poll has taken. Its columns are good until the consumer's next poll."""

    def __init__(self, pointers: Iterable[int]) -> None:
        self._of(pointer // WORD_BYTES for pointer in pointers)
        self.failures: list[KafkaError] = []
        """What librdkafka told in the place of messages."""
        if any(self._field(ERROR)):
            self._set_failures_aside()

    def _of(self, words: Iterable[int]) -> None:
        self._words = tuple(words)
        several = len(self._words) > 1  # of one alone, itemgetter makes no tuple
        self._get: Callable[[memoryview], tuple[int, ...]] = (
            itemgetter(*self._words) if several else lambda memory: tuple([memory[word] for word in self._words])
        )

    def _field(self, number: int) -> tuple[int, ...]:
        return self._get(MEMORY[number:])

    def _set_failures_aside(self) -> None:
        sound = []
        for word in self._words:
            message = Message.from_address(word * WORD_BYTES)
            if message.err:
                text = LIB.rd_kafka_message_errstr(ctypes.byref(message)) or b""
                self.failures.append(KafkaError(message.err, text.decode()))
            else:
                sound.append(word)
        self._of(sound)

    def __len__(self) -> int:
        return len(self._words)

    @property
    def size(self) -> int:
        """The bytes of all keys and values."""
        return sum(self._field(LENGTH)) + sum(self._field(KEY_LENGTH))

    @property
    def keys(self) -> Column:
        """Their keys."""
        return self._column(KEY, KEY_LENGTH)

    @property
    def values(self) -> Column:
        """Their values."""
        return self._column(PAYLOAD, LENGTH)

    def _column(self, address: int, length: int) -> Column:
        return Column(array("Q", self._field(address)), array("Q", self._field(length)), self)


class Consumer:
    """A consumer, used from one thread; another may close it once that has ended.

    ``properties`` are librdkafka's, and ``error_cb``, as confluent-kafka's. Raises KafkaException when one is refused.
    """

    def __init__(self, properties: Mapping[str, Any]) -> None:
        _check_container()
        given = dict(properties)
        on_error: OnError = given.pop("error_cb", lambda error: None)
        conf = configured(given)
        self._told = ERROR_CALLBACK(lambda handle, code, text, opaque: on_error(KafkaError(code, text.decode())))
        LIB.rd_kafka_conf_set_error_cb(conf, self._told)
        self._handle = client(CONSUMER, conf)
        LIB.rd_kafka_poll_set_consumer(self._handle)
        self._queue = LIB.rd_kafka_queue_get_consumer(self._handle)
        self._taken = _container(0)

    def subscribe(self, topics: Iterable[str]) -> None:
        """Joins the group, which deals out the topics' partitions. Raises KafkaException."""
        self._hand(LIB.rd_kafka_subscribe, ((topic, -1, OFFSET_INVALID) for topic in topics))

    def assign(self, partitions: Iterable[tuple[str, int, int]]) -> None:
        """Takes partitions (topic, number, offset), without a group's leave.

        ``OFFSET_INVALID`` is where the group has been, or where ``auto.offset.reset`` says. Raises KafkaException.
        """
        self._hand(LIB.rd_kafka_assign, partitions)

    def _hand(self, call: Callable[..., int], partitions: Iterable[tuple[str, int, int]]) -> None:
        listed = LIB.rd_kafka_topic_partition_list_new(0)
        try:
            for topic, number, offset in partitions:
                added = LIB.rd_kafka_topic_partition_list_add(listed, topic.encode(), number)
                added.contents.offset = offset
            check_code(call(self._handle, listed))
        finally:
            LIB.rd_kafka_topic_partition_list_destroy(listed)

    def assignment(self) -> list[tuple[str, int]]:
        """The partitions it has now: topic and number. Raises KafkaException."""
        found = ctypes.POINTER(TopicPartitions)()
        check_code(LIB.rd_kafka_assignment(self._handle, ctypes.byref(found)))
        try:
            listed = found.contents
            return [(each.topic.decode(), each.partition) for each in listed.elements[: listed.count]]
        finally:
            LIB.rd_kafka_topic_partition_list_destroy(found)

    def end(self, topic: str, number: int, seconds: float) -> int:
        """The offset after a partition's last message. Raises KafkaException, also after so long without an answer."""
        first, end = ctypes.c_int64(), ctypes.c_int64()
        check_code(LIB.rd_kafka_query_watermark_offsets(self._handle, topic.encode(), number, first, end, ms(seconds)))
        return end.value

    def poll(self, most: int, seconds: float) -> Messages:
        """The messages there are, at most so many, waiting at most so long for the first."""
        LIB.rd_kafka_messages_destroy(self._taken)
        self._taken = _container(most)
        first = self._taken + WORD_BYTES
        count = LIB.rd_kafka_consume_batch_queue(self._queue, ms(seconds), first, 1)
        if count and most > 1:
            count += LIB.rd_kafka_consume_batch_queue(self._queue, 0, first + WORD_BYTES, most - 1)
        at = self._taken // WORD_BYTES
        MEMORY[at] = count
        return Messages(MEMORY[at + 1 : at + 1 + count])

    def close(self) -> None:
        """Commits as configured, and leaves the group: as long as the brokers take. Once closed, it does nothing."""
        handle, self._handle = self._handle, 0
        if handle:
            LIB.rd_kafka_messages_destroy(self._taken)
            LIB.rd_kafka_queue_destroy(self._queue)
            LIB.rd_kafka_consumer_close(handle)
            LIB.rd_kafka_destroy(handle)


def _container(most: int) -> int:
    """An empty ``rd_kafka_messages_t`` with room for so many messages: their count, and a pointer to each.

    librdkafka gives such containers to members of share groups, and destroys all in one with a single call; a call for
    each would take as long as all else.
    """
    address = int(_LIBC.malloc(WORD_BYTES * (most + 1)))
    MEMORY[address // WORD_BYTES] = 0
    return address


@cache
def _check_container() -> None:
    """Raises RuntimeError if librdkafka's own functions do not find in a container what was put there."""
    container = _container(2)
    at = container // WORD_BYTES
    MEMORY[at], MEMORY[at + 1], MEMORY[at + 2] = 2, 8, 16
    found = [LIB.rd_kafka_messages_count(container), *(LIB.rd_kafka_messages_get(container, each) for each in (0, 1))]
    MEMORY[at] = 0
    LIB.rd_kafka_messages_destroy(container)
    if found != [2, 8, 16]:
        raise RuntimeError("this release of confluent-kafka keeps messages otherwise than 2.16 does: install that")
