"""Workloads of Kafka, with upstream's names, fields and defaults, and the external command they all run as."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from trogdor.spec import generators as g
from trogdor.spec.base import Spec, require_known
from trogdor.spec.jackson import Boolean, Int, Long, String, StringMap, Strings
from trogdor.topology import Topology

SEQUENTIAL_KEYS = g.SequentialPayload(size=4)
CONSTANT_VALUES = g.ConstantPayload.model_validate({"size": 512})
RANDOM_VALUES = g.UniformRandomPayload(size=32, seed=123, padding=10)

KEEPS_TOPICS = frozenset({"active_topics", "inactive_topics"})


class ProduceBenchSpec(Spec, name="org.apache.kafka.trogdor.workload.ProduceBenchSpec"):
    """Produces messages to topics and measures how long each takes to be acknowledged."""

    example: ClassVar[dict[str, Any]] = {
        "producerNode": "n1", "bootstrapServers": "n1:9092", "targetMessagesPerSec": 1000, "maxMessages": 50000,
        "activeTopics": {"foo[1-3]": {"numPartitions": 10, "replicationFactor": 1}},
    }  # fmt: skip
    keeps_empty: ClassVar[frozenset[str]] = KEEPS_TOPICS

    producer_node: String = ""
    bootstrap_servers: String = ""
    target_messages_per_sec: Int = 0
    max_messages: Long = 0
    key_generator: g.Payload = SEQUENTIAL_KEYS
    value_generator: g.Payload = CONSTANT_VALUES
    transaction_generator: g.Transactions | None = None
    producer_conf: StringMap = {}
    common_client_conf: StringMap = {}
    admin_client_conf: StringMap = {}
    active_topics: g.Topics = {}
    inactive_topics: g.Topics = {}
    use_configured_partitioner: Boolean = False
    skip_flush: Boolean = False

    def target_nodes(self, topology: Topology) -> list[str]:
        return require_known([self.producer_node], topology)


class ConsumeBenchSpec(Spec, name="org.apache.kafka.trogdor.workload.ConsumeBenchSpec"):
    """Consumes messages and measures how many, how large and how late they come."""

    example: ClassVar[dict[str, Any]] = {
        "consumerNode": "n1", "bootstrapServers": "n1:9092", "targetMessagesPerSec": 1000, "maxMessages": 50000,
        "activeTopics": ["foo[1-3]"],
    }  # fmt: skip

    consumer_node: String = ""
    bootstrap_servers: String = ""
    target_messages_per_sec: Int = 0
    max_messages: Long = 0
    consumer_group: String = ""
    threads_per_worker: Int = 1
    record_processor: g.TimestampProcessor | None = None
    consumer_conf: StringMap = {}
    common_client_conf: StringMap = {}
    admin_client_conf: StringMap = {}
    active_topics: Strings = ()

    def target_nodes(self, topology: Topology) -> list[str]:
        return require_known([self.consumer_node], topology)


class ShareConsumeBenchSpec(Spec, name="org.apache.kafka.trogdor.workload.ShareConsumeBenchSpec"):
    """As ConsumeBenchSpec, by a share group (Kafka 4)."""

    consumer_node: String = ""
    bootstrap_servers: String = ""
    target_messages_per_sec: Int = 0
    max_messages: Long = 0
    share_group: String = "share"
    threads_per_worker: Int = 1
    record_processor: g.TimestampProcessor | None = None
    consumer_conf: StringMap = {}
    common_client_conf: StringMap = {}
    admin_client_conf: StringMap = {}
    active_topics: Strings = ()

    def target_nodes(self, topology: Topology) -> list[str]:
        return require_known([self.consumer_node], topology)


class RoundTripWorkloadSpec(Spec, name="org.apache.kafka.trogdor.workload.RoundTripWorkloadSpec"):
    """Produces messages and consumes them again, until each has come back once."""

    example: ClassVar[dict[str, Any]] = {
        "clientNode": "n1", "bootstrapServers": "n1:9092", "targetMessagesPerSec": 1000, "maxMessages": 10000,
        "activeTopics": {"round_trip_topic[0-1]": {"numPartitions": 10, "replicationFactor": 1}},
    }  # fmt: skip
    keeps_empty: ClassVar[frozenset[str]] = KEEPS_TOPICS

    client_node: String = ""
    bootstrap_servers: String = ""
    target_messages_per_sec: Int = 0
    value_generator: g.Payload = RANDOM_VALUES
    active_topics: g.Topics = {}
    max_messages: Long = 0
    common_client_conf: StringMap = {}
    producer_conf: StringMap = {}
    consumer_conf: StringMap = {}
    admin_client_conf: StringMap = {}

    def target_nodes(self, topology: Topology) -> list[str]:
        return require_known([self.client_node], topology)


class ShareRoundTripWorkloadSpec(
    RoundTripWorkloadSpec, name="org.apache.kafka.trogdor.workload.ShareRoundTripWorkloadSpec"
):
    """As RoundTripWorkloadSpec, consumed by a share group (Kafka 4)."""


class ConnectionStressSpec(Spec, name="org.apache.kafka.trogdor.workload.ConnectionStressSpec"):
    """Opens connections to the brokers and closes them, so many a second."""

    example: ClassVar[dict[str, Any]] = {
        "clientNode": ["n1"], "bootstrapServers": "n1:9092", "targetConnectionsPerSec": 100, "action": "CONNECT",
    }  # fmt: skip

    client_node: Strings = ()
    bootstrap_servers: String = ""
    common_client_conf: StringMap = {}
    target_connections_per_sec: Int = 0
    num_threads: Int = 1
    action: Literal["CONNECT", "FETCH_METADATA"] = "CONNECT"

    def target_nodes(self, topology: Topology) -> list[str]:
        return require_known(list(self.client_node), topology)


class SustainedConnectionSpec(Spec, name="org.apache.kafka.trogdor.workload.SustainedConnectionSpec"):
    """Keeps many connections open: producers, consumers, and clients that only fetch metadata."""

    client_node: Strings = ()
    bootstrap_servers: String = ""
    producer_conf: StringMap = {}
    consumer_conf: StringMap = {}
    admin_client_conf: StringMap = {}
    common_client_conf: StringMap = {}
    key_generator: g.Payload | None = None
    value_generator: g.Payload | None = None
    producer_connection_count: Int = 0
    consumer_connection_count: Int = 0
    metadata_connection_count: Int = 0
    topic_name: String = ""
    num_threads: Int = 1
    refresh_rate_ms: Int = 1

    def target_nodes(self, topology: Topology) -> list[str]:
        return require_known(list(self.client_node), topology)


class ConfigurableProducerSpec(Spec, name="org.apache.kafka.trogdor.workload.ConfigurableProducerSpec"):
    """Produces to one topic at a rate, in sizes and with flushes that generators give."""

    producer_node: String = ""
    bootstrap_servers: String = ""
    flush_generator: g.Flush | None = None
    throughput_generator: g.Throughput | None = None
    key_generator: g.Payload | None = None
    value_generator: g.Payload | None = None
    producer_conf: StringMap = {}
    common_client_conf: StringMap = {}
    admin_client_conf: StringMap = {}
    active_topic: dict[str, g.PartitionsSpec]
    active_partition: Int = 0

    def target_nodes(self, topology: Topology) -> list[str]:
        return require_known([self.producer_node], topology)


class ExternalCommandSpec(Spec, name="org.apache.kafka.trogdor.workload.ExternalCommandSpec"):
    """Runs a command on a node; it reads the workload from standard input and reports by JSON lines."""

    example: ClassVar[dict[str, Any]] = {
        "commandNode": "n1",
        "command": ["/opt/load", "--rate", "10"],
        "workload": {},
    }
    keeps_empty: ClassVar[frozenset[str]] = frozenset({"workload"})

    command_node: String = ""
    command: Strings = ()
    workload: Any = Field(None, description="Any JSON; given to the command as it is.")
    shutdown_grace_period_ms: Int | None = Field(None, description="From SIGTERM to SIGKILL, in ms; 5000 unless told.")

    def target_nodes(self, topology: Topology) -> list[str]:
        return require_known([self.command_node], topology)

    def commands(self) -> dict[str, str]:
        return {"command": self.command[0]} if self.command else {}
