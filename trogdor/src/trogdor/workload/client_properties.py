"""Java client properties as librdkafka's.

Many have the same name; some are renamed or change their unit; those that only concern the JVM and name what we do
anyway are taken and dropped. A property without counterpart is an error that names it, unless one of the maps has
``ignoreUnknownConf: true``. A librdkafka property can be given as ``librdkafka.NAME``.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["producer", "consumer", "share", "admin"]
Properties = dict[str, str | int | float | bool]

IGNORE = "ignoreUnknownConf"
NATIVE = "librdkafka."


class UnknownProperties(ValueError):
    """Properties that librdkafka has no counterpart for; the message names each and says why."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems) + f". Set {IGNORE} to true beside them to go on without.")
        self.problems = problems


class _NoCounterpart(Exception):
    pass


@dataclass(frozen=True)
class ClientConf:
    """What a client is made with, and what we do ourselves because librdkafka leaves it to its user."""

    properties: Properties
    max_poll_records: int = 500
    """The most records of one poll (Java's default)."""
    max_block_ms: int = 60_000
    """How long a full queue may hold a producer up (Java's default)."""
    ignored: list[str] = field(default_factory=list)
    """Properties gone on without, each with why."""


Rule = Callable[[str], Properties]

SAME = {
    "": """
        acks bootstrap.servers client.id client.rack client.dns.lookup connections.max.idle.ms enable.metrics.push
        metadata.max.age.ms metadata.recovery.rebootstrap.trigger.ms metadata.recovery.strategy
        reconnect.backoff.ms reconnect.backoff.max.ms retry.backoff.ms retry.backoff.max.ms
        security.protocol socket.connection.setup.timeout.ms sasl.kerberos.service.name sasl.kerberos.kinit.cmd
        sasl.kerberos.min.time.before.relogin sasl.mechanism ssl.key.password ssl.keystore.password
        sasl.oauthbearer.token.endpoint.url sasl.oauthbearer.scope
    """,
    "producer": """
        acks batch.size compression.type delivery.timeout.ms enable.idempotence linger.ms
        max.in.flight.requests.per.connection retries transactional.id transaction.timeout.ms request.timeout.ms
    """,
    "consumer": """
        allow.auto.create.topics auto.commit.interval.ms auto.offset.reset check.crcs enable.auto.commit
        fetch.max.bytes fetch.min.bytes group.id group.instance.id group.protocol group.remote.assignor
        heartbeat.interval.ms isolation.level max.partition.fetch.bytes max.poll.interval.ms session.timeout.ms
    """,
    "share": """
        check.crcs fetch.max.bytes fetch.min.bytes group.id max.partition.fetch.bytes max.poll.interval.ms
        max.poll.records
    """,
}


def _renamed(name: str) -> Rule:
    return lambda value: {name: value}


def _kilobytes(name: str) -> Rule:
    return lambda value: {name: max(int(value) // 1024, 1)}


def _level(value: str) -> Properties:
    """A whole number; it is the level only if its type of compression is the one that is used."""
    int(value)
    return {}


def _buffer(name: str) -> Rule:
    return lambda value: {name: max(int(value), 0)}


def _or(name: str, empty: str) -> Rule:
    return lambda value: {name: value or empty}


def _only(*allowed: str) -> Rule:
    """Taken when the value is what we do anyway."""

    def rule(value: str) -> Properties:
        if value.rpartition(".")[2] not in allowed:
            raise _NoCounterpart(f"only {' or '.join(repr(word) for word in allowed)} can be had")
        return {}

    return rule


def _one_of(name: str, words: Mapping[str, str]) -> Rule:
    """A Java class or word, by its last word, as librdkafka's word for it."""

    def rule(value: str) -> Properties:
        last_words = [part.strip().rpartition(".")[2] for part in value.split(",")]
        missing = [word for word in last_words if word not in words]
        if missing:
            raise _NoCounterpart(f"{missing[0]!r} is none of {', '.join(words)}")
        return {name: ",".join(words[word] for word in last_words)}

    return rule


_JAAS_LOGIN = re.compile(r"\b(username|password)\s*=\s*\"([^\"]*)\"")


def _jaas(value: str) -> Properties:
    found = {f"sasl.{name}": text for name, text in _JAAS_LOGIN.findall(value)}
    if len(found) != 2:
        raise _NoCounterpart('only a login module with username="…" and password="…" can be had')
    return {**found}


def _truststore(value: str) -> Properties:
    if not value.endswith((".pem", ".crt", ".cer")):
        raise _NoCounterpart("a Java key store cannot be read here: name a PEM file")
    return {"ssl.ca.location": value}


def _keystore(value: str) -> Properties:
    if value.endswith(".pem"):
        return {"ssl.certificate.location": value, "ssl.key.location": value}
    if value.endswith((".p12", ".pfx")):
        return {"ssl.keystore.location": value}
    raise _NoCounterpart("a Java key store cannot be read here: name a PKCS#12 or PEM file")


RULES: dict[str, dict[str, Rule]] = {
    "": {
        "metric.reporters": _only("", "JmxReporter"),
        "receive.buffer.bytes": _buffer("socket.receive.buffer.bytes"),
        "send.buffer.bytes": _buffer("socket.send.buffer.bytes"),
        "request.timeout.ms": _renamed("socket.timeout.ms"),
        "sasl.jaas.config": _jaas,
        "ssl.cipher.suites": lambda value: {"ssl.cipher.suites": value.replace(",", ":")},
        "ssl.endpoint.identification.algorithm": _or("ssl.endpoint.identification.algorithm", "none"),
        "ssl.keystore.certificate.chain": _renamed("ssl.certificate.pem"),
        "ssl.keystore.key": _renamed("ssl.key.pem"),
        "ssl.keystore.location": _keystore,
        "ssl.keystore.type": _only("PEM", "PKCS12"),
        "ssl.truststore.certificates": _renamed("ssl.ca.pem"),
        "ssl.truststore.location": _truststore,
        "ssl.truststore.type": _only("PEM"),
    },
    "producer": {
        "buffer.memory": _kilobytes("queue.buffering.max.kbytes"),
        "compression.gzip.level": _level,
        "compression.lz4.level": _level,
        "compression.zstd.level": _level,
        "interceptor.classes": _only(""),
        "key.serializer": _only("ByteArraySerializer"),
        "value.serializer": _only("ByteArraySerializer"),
        "max.request.size": _renamed("message.max.bytes"),
        "partitioner.class": _only("", "DefaultPartitioner"),
        "partitioner.ignore.keys": lambda value: {"partitioner": "random"} if value == "true" else {},
    },
    "consumer": {
        "fetch.max.wait.ms": _renamed("fetch.wait.max.ms"),
        "interceptor.classes": _only(""),
        "key.deserializer": _only("ByteArrayDeserializer"),
        "value.deserializer": _only("ByteArrayDeserializer"),
        "partition.assignment.strategy": _one_of(
            "partition.assignment.strategy",
            {"RangeAssignor": "range", "RoundRobinAssignor": "roundrobin",
             "CooperativeStickyAssignor": "cooperative-sticky"},
        ),
    },
    "share": {
        "fetch.max.wait.ms": _renamed("fetch.wait.max.ms"),
        "key.deserializer": _only("ByteArrayDeserializer"),
        "share.acknowledgement.mode": _only("implicit"),
        "value.deserializer": _only("ByteArrayDeserializer"),
    },
    "admin": {"retries": _only("2147483647")},
}  # fmt: skip

DEFAULTS: dict[Kind, Properties] = {
    "producer": {
        "partitioner": "murmur2_random",
        "queue.buffering.max.kbytes": 32 * 1024,
        "queue.buffering.max.messages": 0,
        "delivery.timeout.ms": 120_000,
        "socket.nagle.disable": True,
    },
    "consumer": {
        "isolation.level": "read_uncommitted",
        "check.crcs": True,
        "socket.nagle.disable": True,
        "fetch.queue.backoff.ms": 20,
    },
    "share": {"check.crcs": True, "socket.nagle.disable": True},
    "admin": {},
}
"""Where librdkafka's defaults differ from the Java clients' in what can be seen from outside.

``fetch.queue.backoff.ms``: once 100,000 messages are queued, librdkafka fetches none for so long, by default for a
second, in less than which they are consumed.
"""

OURS = {"producer": "max.block.ms", "consumer": "max.poll.records", "share": "", "admin": ""}


def client_conf(kind: Kind, base: Mapping[str, str], *confs: Mapping[str, str]) -> ClientConf:
    """What a client is made with: ``base``, then each of ``confs``, all in Java's names, a later one taking precedence.

    Raises UnknownProperties with every property that has no counterpart.
    """
    given: dict[str, str] = {**base}
    for conf in confs:
        given.update(conf)
    lenient = given.pop(IGNORE, "false") == "true"
    ours = given.pop(OURS[kind], "")
    properties: Properties = dict(DEFAULTS[kind])
    problems: list[str] = []
    for name, value in given.items():
        try:
            properties.update(_translate(kind, name, value))
        except (_NoCounterpart, ValueError) as why:
            problems.append(f"{name}: {why}")
    if problems and not lenient:
        raise UnknownProperties(problems)
    if kind == "producer" and _may_be_idempotent(given):
        properties.setdefault("enable.idempotence", True)
    if level := given.get(f"compression.{given.get('compression.type')}.level"):
        properties["compression.level"] = level
    if "transactional.id" in given and "delivery.timeout.ms" not in given:
        del properties["delivery.timeout.ms"]  # librdkafka then fits it into the transaction's timeout
    taken = {"max_block_ms" if kind == "producer" else "max_poll_records": int(ours)} if ours else {}
    return ClientConf(properties, ignored=problems, **taken)


def _may_be_idempotent(given: Mapping[str, str]) -> bool:
    """Java's producers are idempotent unless a property given contradicts it."""
    return (
        given.get("acks", "all") in ("all", "-1")
        and given.get("retries", "1") != "0"
        and int(given.get("max.in.flight.requests.per.connection", "5")) <= 5
    )


def _translate(kind: Kind, name: str, value: str) -> Properties:
    if name.startswith(NATIVE):
        return {name.removeprefix(NATIVE): value}
    for family in (kind, ""):
        if name in SAME.get(family, "").split():
            return {name: value}
        if rule := RULES[family].get(name):
            return rule(value)
    raise _NoCounterpart("librdkafka, which this workload runs on, has no counterpart")
