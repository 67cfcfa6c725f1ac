"""Java client properties become librdkafka's, and what has no counterpart is named."""

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from trogdor.workload.client_properties import RULES, SAME, Kind, UnknownProperties, client_conf

SERIALIZATION = "org.apache.kafka.common.serialization."
TRANSLATED: list[tuple[Kind, dict[str, str], dict[str, object]]] = [
    ("producer", {"buffer.memory": "1048576"}, {"queue.buffering.max.kbytes": 1024}),
    ("producer", {"max.request.size": "2000000"}, {"message.max.bytes": "2000000"}),
    ("producer", {"request.timeout.ms": "5000"}, {"request.timeout.ms": "5000"}),
    ("producer", {"partitioner.class": "", "interceptor.classes": ""}, {}),
    ("producer", {"partitioner.ignore.keys": "true"}, {"partitioner": "random"}),
    ("producer", {"partitioner.ignore.keys": "false"}, {}),
    ("producer", {"compression.gzip.level": "9"}, {}),
    (
        "producer",
        {"compression.type": "zstd", "compression.zstd.level": "5", "compression.lz4.level": "9"},
        {"compression.type": "zstd", "compression.level": "5"},
    ),
    ("producer", {"key.serializer": f"{SERIALIZATION}ByteArraySerializer"}, {}),
    ("producer", {"value.serializer": f"{SERIALIZATION}ByteArraySerializer"}, {}),
    ("producer", {"librdkafka.statistics.interval.ms": "1000"}, {"statistics.interval.ms": "1000"}),
    ("consumer", {"request.timeout.ms": "5000"}, {"socket.timeout.ms": "5000"}),
    ("consumer", {"fetch.max.wait.ms": "50", "interceptor.classes": ""}, {"fetch.wait.max.ms": "50"}),
    ("consumer", {"key.deserializer": f"{SERIALIZATION}ByteArrayDeserializer"}, {}),
    ("consumer", {"value.deserializer": f"{SERIALIZATION}ByteArrayDeserializer"}, {}),
    (
        "consumer",
        {"partition.assignment.strategy": "org.apache.kafka.clients.consumer.RangeAssignor,RoundRobinAssignor"},
        {"partition.assignment.strategy": "range,roundrobin"},
    ),
    ("share", {"fetch.max.wait.ms": "50"}, {"fetch.wait.max.ms": "50"}),
    ("share", {"share.acknowledgement.mode": "implicit"}, {}),
    ("share", {"key.deserializer": f"{SERIALIZATION}ByteArrayDeserializer"}, {}),
    ("share", {"value.deserializer": f"{SERIALIZATION}ByteArrayDeserializer"}, {}),
    ("admin", {"retries": "2147483647", "metric.reporters": "org.apache.kafka.common.metrics.JmxReporter"}, {}),
    ("admin", {"receive.buffer.bytes": "-1"}, {"socket.receive.buffer.bytes": 0}),
    ("admin", {"send.buffer.bytes": "65536"}, {"socket.send.buffer.bytes": 65536}),
    ("admin", {"ssl.cipher.suites": "A,B"}, {"ssl.cipher.suites": "A:B"}),
    ("admin", {"ssl.endpoint.identification.algorithm": ""}, {"ssl.endpoint.identification.algorithm": "none"}),
    ("admin", {"ssl.truststore.location": "/ca.pem", "ssl.truststore.type": "PEM"}, {"ssl.ca.location": "/ca.pem"}),
    ("admin", {"ssl.truststore.certificates": "PEM"}, {"ssl.ca.pem": "PEM"}),
    ("admin", {"ssl.keystore.certificate.chain": "PEM"}, {"ssl.certificate.pem": "PEM"}),
    ("admin", {"ssl.keystore.key": "PEM"}, {"ssl.key.pem": "PEM"}),
    (
        "admin",
        {"ssl.keystore.location": "/me.pem"},
        {"ssl.certificate.location": "/me.pem", "ssl.key.location": "/me.pem"},
    ),
    (
        "admin",
        {"ssl.keystore.location": "/me.p12", "ssl.keystore.type": "PKCS12"},
        {"ssl.keystore.location": "/me.p12"},
    ),
    (
        "admin",
        {"sasl.jaas.config": 'org.apache….PlainLoginModule required username="u" password="p";'},
        {"sasl.username": "u", "sasl.password": "p"},
    ),
]


@pytest.mark.parametrize(("kind", "java", "native"), TRANSLATED)
def test_a_property_is_translated(kind: Kind, java: dict[str, str], native: dict[str, object]) -> None:
    plain = client_conf(kind, {}).properties
    assert client_conf(kind, {}, java).properties == {**plain, **native}


def test_no_translation_is_left_out_here() -> None:
    shown = {(family, name) for kind, java, _ in TRANSLATED for name in java for family in (kind, "")}
    assert {(family, name) for family, rules in RULES.items() for name in rules} <= shown


@pytest.mark.parametrize(
    ("kind", "name", "value", "why"),
    [
        ("producer", "key.serializer", f"{SERIALIZATION}StringSerializer", "only 'ByteArraySerializer' can be had"),
        ("producer", "partitioner.class", "org.example.Mine", "only '' or 'DefaultPartitioner' can be had"),
        ("producer", "interceptor.classes", "org.example.Mine", "only '' can be had"),
        ("producer", "buffer.memory", "much", "invalid literal"),
        ("producer", "compression.gzip.level", "high", "invalid literal"),
        ("consumer", "partition.assignment.strategy", "org.example.Mine", "'Mine' is none of RangeAssignor"),
        ("share", "share.acknowledgement.mode", "explicit", "only 'implicit' can be had"),
        ("share", "auto.offset.reset", "earliest", "librdkafka, which this workload runs on, has no counterpart"),
        ("admin", "retries", "3", "only '2147483647' can be had"),
        ("admin", "ssl.keystore.location", "/me.jks", "name a PKCS#12 or PEM file"),
        ("admin", "ssl.truststore.location", "/ca.jks", "name a PEM file"),
        ("admin", "sasl.jaas.config", "org.example.Login required;", 'only a login module with username="…"'),
    ],
)
def test_a_value_that_cannot_be_had_is_refused_with_what_can(kind: Kind, name: str, value: str, why: str) -> None:
    with pytest.raises(UnknownProperties) as raised:
        client_conf(kind, {}, {name: value})
    (problem,) = raised.value.problems
    assert problem.startswith(f"{name}: ")
    assert why in problem


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
    "metadata.recovery.strategy": "rebootstrap",
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
