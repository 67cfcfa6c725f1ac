"""Members of share groups, whose ids brokers before 4.2 can read."""

import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from confluent_kafka import IllegalStateException, KafkaError, Message, ShareConsumer

from trogdor.workload.channel import Channel
from trogdor.workload.client_properties import ClientConf
from trogdor.workload.clients import WorkloadError, made
from trogdor.workload.columns import Column, column

MAX_DRAWN = 100
"""Half of all ids will do."""

DRAWN = re.compile(r'updating member id ".*" -> "(.*)"')


class _Log(logging.Handler):
    """Catches the id that a member has drawn: librdkafka tells it nowhere but in its log."""

    member_id = ""

    def emit(self, record: logging.LogRecord) -> None:
        if found := DRAWN.search(record.getMessage()):
            self.member_id = found[1]


class ShareMessages:
    """What one poll has taken."""

    def __init__(self, polled: Iterable[Message]) -> None:
        self.failures: list[KafkaError] = []
        self._messages: list[Message] = []
        for message in polled:
            if (error := message.error()) is None:
                self._messages.append(message)
            else:
                self.failures.append(error)

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def size(self) -> int:
        """The bytes of all keys and values."""
        return sum(self.keys.lengths) + sum(self.values.lengths)

    @property
    def keys(self) -> Column:
        """Their keys."""
        return column([message.key() for message in self._messages])

    @property
    def values(self) -> Column:
        """Their values."""
        return column([message.value() for message in self._messages])

    def since(self, time_ms: int) -> "ShareMessages":
        """Those with a timestamp of then or later."""
        return ShareMessages([message for message in self._messages if message.timestamp()[1] >= time_ms])


class Member:
    """A member of a share group, as ``trogdor.workload.librdkafka.consumer.Consumer``; it has no partitions to itself.

    At most ``max.poll.records`` messages are polled at once.
    """

    def __init__(self, client: ShareConsumer) -> None:
        self._client = client

    def poll(self, most: int, seconds: float) -> ShareMessages:
        """The messages there are, waiting at most so long for the first."""
        return ShareMessages(self._client.poll(seconds))

    def assignment(self) -> list[tuple[str, int]]:
        """None."""
        return []

    def close(self) -> None:
        """Accepts what was polled, and leaves the group: as long as the brokers take."""
        self._client.close()


def share_consumer(conf: ClientConf, topics: list[str], channel: Channel) -> Member:
    """A member of a share group, subscribed to topics. Raises WorkloadError when librdkafka refuses a value.

    A broker before 4.2 fails at each fetch of a member whose id has a + or a / (KAFKA-19846), and librdkafka goes on to
    ask, thousands of times a second. It draws such an id every other time: then another member is made, before this one
    has joined the group.
    """
    for _ in range(MAX_DRAWN):
        log, logger = _Log(), logging.Logger("share group")
        logger.addHandler(log)
        debugged = {**conf.properties, "debug": "cgrp"}
        member = made(partial(ShareConsumer, logger=logger), debugged, channel)
        with suppress(IllegalStateException):  # it has no topics yet; what the log says is told all the same
            member.poll(0)
        logger.setLevel(logging.CRITICAL)
        if log.member_id and not {"+", "/"} & set(log.member_id):
            member.subscribe(topics)
            return Member(member)
        member.close()
    raise WorkloadError(f"no member of a share group has drawn an id without + and / in {MAX_DRAWN} attempts")
