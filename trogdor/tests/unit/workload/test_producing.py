"""Every message of a run is counted once, whatever becomes of it: librdkafka's own producer on its own mock brokers."""

import io
from array import array
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Producer as Brokers

from trogdor.workload.channel import Channel
from trogdor.workload.client_properties import client_conf
from trogdor.workload.clients import WorkloadError
from trogdor.workload.columns import column, repeated
from trogdor.workload.librdkafka.producer import Producer
from trogdor.workload.producing import UNASSIGNED, Sender

ROOM = 100
"""So many messages fit the producer's queue: more of them have to wait for their turn."""

TOO_LARGE = bytes(2000)
RUN = 201


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    brokers = Brokers({"test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = brokers.list_topics("counted", timeout=30).brokers.values()
    yield f"{broker.host}:{broker.port}"
    brokers.flush(30)


def sender(bootstrap: str, *, stopped: bool = False, **java: str) -> Sender:
    conf = client_conf(
        "producer",
        {"bootstrap.servers": bootstrap, "max.request.size": "1000", "librdkafka.log_level": "0"},
        {"librdkafka.queue.buffering.max.messages": str(ROOM), "acks": "1", **java},
    )
    channel = Channel("t1", io.StringIO())
    if stopped:
        channel.stop.set()
    return Sender(conf, channel)


@pytest.mark.parametrize("partition", [0, UNASSIGNED])
@pytest.mark.parametrize("large", [[], [RUN - 1], [0, 1, ROOM, RUN - 2]], ids=str)
def test_every_message_counts_once(bootstrap: str, partition: int, large: list[int]) -> None:
    sending = sender(bootstrap)
    values = column([TOO_LARGE if at in large else b"small" for at in range(RUN)])
    for _ in range(2):
        sending.send("counted", partition, repeated(b"key", RUN), values)
        sending.flush(60)
    assert (sending.histogram.samples, sending.failed) == (2 * RUN, 2 * len(large))


def test_messages_that_time_out_are_counted_as_failed() -> None:
    sending = sender("localhost:1", **{"delivery.timeout.ms": "300", "linger.ms": "0", "request.timeout.ms": "100"})
    sending.send("counted", 0, repeated(None, 7), repeated(b"lost", 7))
    sending.flush(60)
    assert (sending.histogram.samples, sending.failed) == (7, 7)
    assert sending.histogram.percentile(0) >= 300


def test_a_full_queue_that_does_not_move_is_an_error() -> None:
    sending = sender("localhost:1", **{"max.block.ms": "200"})
    with pytest.raises(WorkloadError, match="the producer's queue is full"):
        sending.send("counted", 0, repeated(None, RUN), repeated(b"kept", RUN))


def test_who_is_stopped_waits_for_nobody() -> None:
    sending = sender("localhost:1", stopped=True)
    sending.send("counted", 0, repeated(None, RUN), repeated(b"kept", RUN))
    sending.flush(3600)
    assert sending.histogram.samples == 0


def test_each_stretch_of_acknowledgements_has_the_number_it_was_sent_with(bootstrap: str) -> None:
    told: list[tuple[int, int, int]] = []
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0}, lambda *each: told.append(each))
    stretches = {1: 5, 2: 1, 2**40: 300}
    for opaque, count in stretches.items():
        keys, values = repeated(b"key", count), repeated(b"", count)
        assert producer.produce("counted", 0, keys, values, array("Q", [opaque]) * count) == {}
    producer.flush(60)
    counted = {opaque: sum(count for each, count, _ in told if each == opaque) for opaque in stretches}
    assert counted == stretches
    assert {code for _, _, code in told} == {0}
    assert sorted(opaque for opaque, _, _ in told) == [opaque for opaque, _, _ in told]
    producer.close()


def test_what_is_sent_is_what_arrives(bootstrap: str) -> None:
    keys, values = [None, b"", b"k", b"\0\1"], [b"value", None, b"", bytes(range(256))]
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0}, lambda *each: None)
    producer.produce("arrived", 1, column(keys), column(values), array("Q", range(4)))
    producer.flush(60)
    producer.close()
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "readers", "log_level": 0})
    consumer.assign([TopicPartition("arrived", 1, 0)])
    arrived = consumer.consume(4, 60)
    assert [(message.key(), message.value()) for message in arrived] == list(zip(keys, values, strict=True))
    consumer.close()


def test_a_property_that_librdkafka_refuses_is_named() -> None:
    with pytest.raises(KafkaException, match=r"no\.such\.property"):
        Producer({"no.such.property": 1}, lambda *each: None)


def test_a_name_that_no_topic_can_have_is_refused(bootstrap: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0}, lambda *each: None)
    with pytest.raises(KafkaException) as caught:
        producer.produce("x" * 600, 0, repeated(None, 1), repeated(None, 1), array("Q", [0]))
    assert caught.value.args[0].code() == KafkaError._INVALID_ARG
    producer.close()
