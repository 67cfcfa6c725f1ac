"""Java client properties become librdkafka's, and what has no counterpart is named."""

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from trogdor.workload.client_properties import SAME, Kind, UnknownProperties, client_conf


@pytest.mark.parametrize(
    ("kind", "java", "native"),
    [
        ("producer", {"buffer.memory": "1048576"}, {"queue.buffering.max.kbytes": 1024}),
        ("producer", {"max.request.size": "2000000"}, {"message.max.bytes": "2000000"}),
        ("producer", {"request.timeout.ms": "5000"}, {"request.timeout.ms": "5000"}),
        ("consumer", {"request.timeout.ms": "5000"}, {"socket.timeout.ms": "5000"}),
        ("consumer", {"fetch.max.wait.ms": "50"}, {"fetch.wait.max.ms": "50"}),
        (
            "consumer",
            {"partition.assignment.strategy": "org.apache.kafka.clients.consumer.RangeAssignor,RoundRobinAssignor"},
            {"partition.assignment.strategy": "range,roundrobin"},
        ),
        ("admin", {"receive.buffer.bytes": "-1"}, {"socket.receive.buffer.bytes": 0}),
        ("admin", {"ssl.truststore.location": "/ca.pem"}, {"ssl.ca.location": "/ca.pem"}),
        (
            "admin",
            {"sasl.jaas.config": 'org.apache….PlainLoginModule required username="u" password="p";'},
            {"sasl.username": "u", "sasl.password": "p"},
        ),
        ("producer", {"librdkafka.statistics.interval.ms": "1000"}, {"statistics.interval.ms": "1000"}),
        ("producer", {"key.serializer": "org.apache.kafka.common.serialization.ByteArraySerializer"}, {}),
    ],
)
def test_a_property_is_translated(kind: Kind, java: dict[str, str], native: dict[str, object]) -> None:
    plain = client_conf(kind, {}).properties
    assert client_conf(kind, {}, java).properties == {**plain, **native}


@pytest.mark.parametrize(
    ("given", "idempotent"),
    [({}, True), ({"acks": "1"}, None), ({"retries": "0"}, None), ({"enable.idempotence": "false"}, "false")],
)
def test_producers_are_idempotent_unless_told_otherwise(given: dict[str, str], idempotent: object) -> None:
    assert client_conf("producer", given).properties.get("enable.idempotence") == idempotent


def test_a_later_map_takes_precedence() -> None:
    conf = client_conf("producer", {"acks": "all", "client.id": "a"}, {"acks": "1"}, {"acks": "0"})
    assert (conf.properties["acks"], conf.properties["client.id"]) == ("0", "a")


def test_what_librdkafka_leaves_to_its_user_is_ours() -> None:
    assert client_conf("consumer", {"max.poll.records": "7"}).max_poll_records == 7
    assert client_conf("producer", {"max.block.ms": "7"}).max_block_ms == 7


def test_every_property_without_counterpart_is_named_at_once() -> None:
    with pytest.raises(UnknownProperties) as raised:
        client_conf("producer", {}, {"no.such": "1", "acks": "all", "ssl.truststore.location": "/store.jks"})
    assert len(raised.value.problems) == 2
    assert "no.such" in str(raised.value)
    assert "ssl.truststore.location" in str(raised.value)
    assert "ignoreUnknownConf" in str(raised.value)


def test_a_consumers_property_is_none_of_a_producers() -> None:
    with pytest.raises(UnknownProperties, match=r"fetch\.max\.bytes"):
        client_conf("producer", {"fetch.max.bytes": "1"})


def test_going_on_without_is_possible_and_said() -> None:
    conf = client_conf("producer", {}, {"no.such": "1", "acks": "1"}, {"ignoreUnknownConf": "true"})
    assert "no.such" not in conf.properties
    assert conf.properties["acks"] == "1"
    assert [problem.partition(":")[0] for problem in conf.ignored] == ["no.such"]


SAMPLES = {
    "acks": "all", "bootstrap.servers": "127.0.0.1:1", "client.dns.lookup": "use_all_dns_ips", "retries": "3",
    "enable.metrics.push": "false", "security.protocol": "PLAINTEXT", "compression.type": "lz4", "client.id": "x",
    "enable.idempotence": "true", "allow.auto.create.topics": "true", "auto.offset.reset": "earliest",
    "check.crcs": "true", "enable.auto.commit": "true", "group.id": "g", "group.instance.id": "i",
    "isolation.level": "read_committed", "batch.size": "16384", "linger.ms": "0", "fetch.max.bytes": "52428800",
    "max.in.flight.requests.per.connection": "5", "max.poll.interval.ms": "300000", "session.timeout.ms": "45000",
    "heartbeat.interval.ms": "3000", "max.partition.fetch.bytes": "1048576", "delivery.timeout.ms": "120000",
}  # fmt: skip
NOT_PLAIN = {
    "group.protocol", "group.remote.assignor", "transactional.id", "transaction.timeout.ms", "ssl.key.password",
    "ssl.keystore.password",
}  # fmt: skip


@pytest.mark.parametrize(("kind", "client"), [("producer", Producer), ("consumer", Consumer), ("admin", AdminClient)])
def test_librdkafka_takes_every_property_that_is_passed_on(kind: Kind, client: type) -> None:
    names = {*SAME[""].split(), *SAME.get(kind, "").split()} - {"acks", *NOT_PLAIN}
    names = {name for name in names if not name.startswith("sasl.")}
    given = {name: SAMPLES.get(name, "1000") for name in sorted(names)}
    client({**client_conf(kind, {"group.id": "g"} if kind == "consumer" else {}, given).properties})
