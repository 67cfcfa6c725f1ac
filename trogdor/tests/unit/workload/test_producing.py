"""Every message of a run is counted once, whatever becomes of it: librdkafka's own producer on its own mock brokers."""

import io
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from trogdor.workload.channel import Channel
from trogdor.workload.producing import GROUP, UNASSIGNED, Sender

ROOM = 100
"""So many messages fit the producer's queue: more of them have to wait for their turn."""

TOO_LARGE = bytes(2000)


@pytest.fixture(scope="module")
def producer() -> Iterator[Producer]:
    producer = Producer(
        {"test.mock.num.brokers": 1, "log_level": 0, "queue.buffering.max.messages": ROOM, "message.max.bytes": 1000}
    )
    producer.list_topics("counted", timeout=30)
    yield producer
    producer.flush(30)


@pytest.mark.parametrize("partition", [0, UNASSIGNED])
@pytest.mark.parametrize("large", [[], [GROUP - 1], [0, 1, GROUP, 3 * GROUP]], ids=str)
def test_every_message_counts_once(producer: Producer, partition: int, large: list[int]) -> None:
    sender = Sender(producer, 60_000, Channel("t1", io.StringIO()))
    values = [TOO_LARGE if at in large else b"small" for at in range(3 * GROUP + 1)]
    for _ in range(2):
        sender.send("counted", partition, [b"key"] * len(values), values)
        sender.flush(60)
    assert (sender.histogram.samples, sender.failed) == (2 * len(values), 2 * len(large))
