"""What librdkafka's consumer takes is what was produced, read where it lies: on librdkafka's own mock brokers."""

import io
import time
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, KafkaError, KafkaException
from confluent_kafka import Producer as Brokers

from trogdor.workload.channel import Channel
from trogdor.workload.clients import made
from trogdor.workload.columns import column
from trogdor.workload.librdkafka.consumer import Consumer, Messages

SENT = [(None, b"value"), (b"", None), (b"k", b""), (b"\0\1", bytes(range(256))), (b"four", b"12345678tail")]
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def brokers() -> Brokers:
    brokers = Brokers({"test.mock.num.brokers": 1, "log_level": 0})
    for number in range(2):
        for key, value in SENT:
            brokers.produce("read", value, key, number)
    brokers.flush(PATIENCE_S)
    return brokers


@pytest.fixture(scope="module")
def bootstrap(brokers: Brokers) -> str:
    (broker,) = brokers.list_topics("read", timeout=PATIENCE_S).brokers.values()
    return f"{broker.host}:{broker.port}"


@pytest.fixture
def consumer(bootstrap: str) -> Iterator[Callable[..., Consumer]]:
    opened: list[Consumer] = []

    def open_consumer(**properties: Any) -> Consumer:
        given = {name.replace("_", "."): value for name, value in properties.items()}
        base = {"bootstrap.servers": bootstrap, "auto.offset.reset": "earliest", "group.id": "readers", "log_level": 0}
        opened.append(Consumer({**base, **given}))
        return opened[-1]

    yield open_consumer
    for one in opened:
        one.close()


def first(client: Consumer, most: int = 100) -> Messages:
    """What the first poll brings that brings something."""
    deadline = time.monotonic() + PATIENCE_S
    while not len(messages := client.poll(most, 0.1)) and not messages.failures:
        assert time.monotonic() < deadline
    return messages


def all_of(client: Consumer, count: int, most: int = 100) -> list[tuple[bytes | None, bytes | None]]:
    """Keys and values of the next so many messages."""
    taken: list[tuple[bytes | None, bytes | None]] = []
    while len(taken) < count:
        messages = first(client, most)
        assert messages.failures == []
        taken += zip(messages.keys, messages.values, strict=True)
    return taken


@pytest.mark.parametrize("most", [1, 2, 100])
def test_what_was_sent_is_read(consumer: Callable[..., Consumer], most: int) -> None:
    client = consumer()
    client.assign([("read", 1, OFFSET_BEGINNING)])
    assert all_of(client, len(SENT), most) == SENT
    assert client.assignment() == [("read", 1)]


def test_sizes_and_numbers_are_those_of_keys_and_values(consumer: Callable[..., Consumer]) -> None:
    client = consumer()
    client.assign([("read", 0, 3)])
    messages = first(client)
    while len(messages) < 2:  # they came one by one
        client.assign([("read", 0, 3)])
        messages = first(client)
    assert messages.size == sum(len(key or b"") + len(value or b"") for key, value in SENT[3:])
    assert messages.keys.numbers(Struct("<I")) == [int.from_bytes(b"four", "little")]
    assert messages.values.numbers(Struct("<I")) == [0x03020100, int.from_bytes(b"1234", "little")]
    assert messages.values.numbers(Struct("<q"), alone=True) == []


def test_a_column_has_as_many_payloads_as_it_was_made_of() -> None:
    for payloads in ([], [None], [b"a", None, b"", b"bcd"]):
        assert list(column(payloads)) == payloads
    assert column([]).numbers(Struct("<q")) == []


def test_a_group_goes_on_where_it_was(consumer: Callable[..., Consumer], brokers: Brokers) -> None:
    brokers.produce("onward", b"first", partition=0)
    brokers.flush(PATIENCE_S)
    before = consumer(group_id="onward", session_timeout_ms=6000)
    before.subscribe(["onward"])
    assert all_of(before, 1) == [(None, b"first")]
    before.close()
    brokers.produce("onward", b"second", partition=0)
    brokers.flush(PATIENCE_S)
    after = consumer(group_id="onward")
    after.assign([("onward", 0, OFFSET_INVALID)])
    assert all_of(after, 1) == [(None, b"second")]


def test_a_failure_is_told_beside_the_messages(consumer: Callable[..., Consumer]) -> None:
    client = consumer(enable_partition_eof=True)
    client.assign([("read", 0, OFFSET_BEGINNING)])
    taken, failures = 0, []
    while not failures:
        messages = first(client)
        taken += len(messages)
        failures += messages.failures
    assert taken == len(SENT)
    assert failures[0].code() == KafkaError._PARTITION_EOF
    assert "end of partition" in str(failures[0])


def test_the_end_of_a_partition_is_asked_for(consumer: Callable[..., Consumer]) -> None:
    client = consumer()
    assert client.end("read", 1, PATIENCE_S) == len(SENT)
    with pytest.raises(KafkaException):
        client.end("read", 99, 1)


def test_brokers_that_are_not_there_are_told_in_the_log() -> None:
    said = io.StringIO()
    client = made(Consumer, {"bootstrap.servers": "localhost:1", "group.id": "nobody"}, Channel("t1", said))
    deadline = time.monotonic() + PATIENCE_S
    while "_TRANSPORT" not in said.getvalue() and time.monotonic() < deadline:
        assert len(client.poll(1, 0.1)) == 0
    client.close()
    assert "Connection refused" in said.getvalue()
