"""Kafka clients out of Java properties, and topics made as upstream's WorkerUtils makes them."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from trogdor.spec.generators import PartitionsSpec
from trogdor.workload.channel import Channel
from trogdor.workload.client_properties import ClientConf, Kind, Properties, client_conf
from trogdor.workload.topics import DEFAULT_REPLICATION, partition_numbers

CREATE_TOPICS_TIMEOUT_S = 180
ADMIN_REQUEST_TIMEOUT_MS = 25_000
TOPICS_AT_ONCE = 10
LOG_LEVEL = 2
"""librdkafka tells each failed attempt to connect at level 3; each kind of error is told once instead."""

CLOSE_S = 3.0
"""So long a consumer may take to leave its group: brokers that hang would hold it up for minutes."""

Client = TypeVar("Client")

RETRIED = {
    KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT, KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError._TIMED_OUT_QUEUE,
}  # fmt: skip


class WorkloadError(Exception):
    """Why a workload cannot go on; the message is the worker's error."""


def reason(failure: BaseException) -> str:
    """What a failure says, without confluent-kafka's wrapping."""
    first = failure.args[0] if failure.args else None
    return str(first.str() if isinstance(first, KafkaError) else failure)


def conf_of(kind: Kind, channel: Channel, base: Mapping[str, str], *confs: Mapping[str, str]) -> ClientConf:
    """The configuration of a client; says in the log what it goes on without. Raises UnknownProperties."""
    conf = client_conf(kind, base, *confs)
    for problem in conf.ignored:
        channel.log(f"{kind}: going on without {problem}")
    return conf


def made(make: Callable[[dict[str, Any]], Client], properties: Properties, channel: Channel) -> Client:
    """A client that tells each kind of error once, in the log. Raises WorkloadError when librdkafka refuses a value."""
    said: set[str] = set()

    def on_error(error: KafkaError) -> None:
        if error.name() not in said:
            said.add(error.name())
            channel.log(f"{error.name()}: {error.str()}")

    try:
        return make({"log_level": LOG_LEVEL, **properties, "error_cb": on_error})
    except KafkaException as failure:
        raise WorkloadError(reason(failure)) from None


def producer(conf: ClientConf, channel: Channel) -> Producer:
    """A producer. Raises WorkloadError when librdkafka refuses a value."""
    return made(Producer, conf.properties, channel)


def consumer(conf: ClientConf, channel: Channel) -> Consumer:
    """A consumer. Raises WorkloadError when librdkafka refuses a value."""
    return made(Consumer, conf.properties, channel)


def admin(conf: ClientConf, channel: Channel) -> AdminClient:
    """An admin client. Raises WorkloadError when librdkafka refuses a value."""
    return made(AdminClient, conf.properties, channel)


def close(client: Any) -> None:
    """Closes a consumer: it commits and leaves its group, as far as the brokers answer in time."""
    closing = threading.Thread(target=client.close, name="closing", daemon=True)
    closing.start()
    closing.join(CLOSE_S)


def create_topics(
    topics: Mapping[str, PartitionsSpec],
    bootstrap_servers: str,
    common_conf: Mapping[str, str],
    admin_conf: Mapping[str, str],
    channel: Channel,
) -> None:
    """Makes the topics that do not exist; those that do must have as many partitions as asked.

    Reports ``Creating N topic(s)`` and ``Created N topic(s)`` as upstream does. Raises WorkloadError.
    """
    channel.status(f"Creating {len(topics)} topic(s)")
    base = {"bootstrap.servers": bootstrap_servers, "request.timeout.ms": str(ADMIN_REQUEST_TIMEOUT_MS)}
    client = admin(conf_of("admin", channel, base, common_conf, admin_conf), channel)
    _verify(client, topics, _create(client, topics, channel))
    channel.status(f"Created {len(topics)} topic(s)")


def _create(client: AdminClient, topics: Mapping[str, PartitionsSpec], channel: Channel) -> list[str]:
    """Makes topics, tried again while brokers cannot be reached; the names of those that exist already."""
    deadline = time.monotonic() + CREATE_TOPICS_TIMEOUT_S
    missing, existing, tries = list(topics), [], 0
    while missing:
        tries += 1
        retried: list[str] = []
        for at in range(0, len(missing), TOPICS_AT_ONCE):
            wanted = [_new_topic(name, topics[name]) for name in missing[at : at + TOPICS_AT_ONCE]]
            for name, future in client.create_topics(wanted).items():
                try:
                    future.result()
                except KafkaException as failure:
                    code = failure.args[0].code()
                    if code == KafkaError.TOPIC_ALREADY_EXISTS:
                        existing.append(name)
                    elif code in RETRIED:
                        retried.append(name)
                    else:
                        raise WorkloadError(reason(failure)) from None
            if channel.stop.is_set():
                return existing
        missing = retried
        if missing and (time.monotonic() > deadline or channel.stop.wait(0.1)):
            raise WorkloadError(f"Unable to create topic(s): {', '.join(missing)} after {tries} attempt(s)")
    return existing


def _new_topic(name: str, partitions: PartitionsSpec) -> NewTopic:
    numbers = partition_numbers(partitions)
    assignments = partitions.partition_assignments
    if not assignments:
        replication = partitions.replication_factor if partitions.replication_factor > 0 else DEFAULT_REPLICATION
        return NewTopic(name, len(numbers), replication, config=partitions.configs)
    if numbers != list(range(len(numbers))):
        raise WorkloadError(f"{name}: partitionAssignments must name the partitions 0 to {len(numbers) - 1}")
    return NewTopic(
        name, len(numbers), replica_assignment=[list(assignments[number]) for number in numbers],
        config=partitions.configs,
    )  # fmt: skip


def _verify(client: AdminClient, topics: Mapping[str, PartitionsSpec], existing: list[str]) -> None:
    if not existing:
        return
    known = client.list_topics(timeout=ADMIN_REQUEST_TIMEOUT_MS / 1000).topics
    for name in existing:
        if topics[name].partition_assignments or name not in known:
            continue
        has, wanted = len(known[name].partitions), len(partition_numbers(topics[name]))
        if has != wanted:
            raise WorkloadError(
                f"Topic '{name}' exists, but has {has} partitions, while requested  number of partitions is {wanted}"
            )


def topic_partitions(client: Producer | Consumer, topic: str) -> list[int]:
    """The partitions a topic has now. Raises WorkloadError when it does not exist or nobody answers."""
    try:
        found = client.list_topics(topic, timeout=60).topics.get(topic)
    except KafkaException as failure:
        raise WorkloadError(reason(failure)) from None
    if found is None or found.error is not None or not found.partitions:
        raise WorkloadError(f"Topic {topic} does not exist.")
    return sorted(found.partitions)
