"""Members of share groups, whose ids brokers before 4.2 can read."""

import logging
import re
from functools import partial

from confluent_kafka import ShareConsumer

from trogdor.workload.channel import Channel
from trogdor.workload.client_properties import ClientConf
from trogdor.workload.clients import WorkloadError, made

MAX_DRAWN = 100
"""Half of all ids will do."""

DRAWN = re.compile(r'updating member id ".*" -> "(.*)"')


class _Log(logging.Handler):
    """Catches the id that a member has drawn: librdkafka tells it nowhere but in its log."""

    member_id = ""

    def emit(self, record: logging.LogRecord) -> None:
        if found := DRAWN.search(record.getMessage()):
            self.member_id = found[1]


def share_consumer(conf: ClientConf, topics: list[str], channel: Channel) -> ShareConsumer:
    """A member of a share group, subscribed to topics. Raises WorkloadError when librdkafka refuses a value.

    A broker before 4.2 fails at each fetch of a member whose id has a + or a / (KAFKA-19846), and librdkafka goes on to
    ask, thousands of times a second. It draws such an id every other time: then another member is made.
    """
    for _ in range(MAX_DRAWN):
        log, logger = _Log(), logging.Logger("share group")
        logger.addHandler(log)
        debugged = {**conf.properties, "debug": "cgrp"}
        member = made(partial(ShareConsumer, logger=logger), debugged, channel)
        member.subscribe(topics)
        member.poll(0)
        logger.setLevel(logging.CRITICAL)
        if not {"+", "/"} & set(log.member_id):
            return member
        member.close()
    raise WorkloadError(f"no member of a share group has drawn an id without + and / in {MAX_DRAWN} attempts")
