"""Faults of Kafka by the part a broker plays at that moment; each becomes general faults of the nodes found."""

from typing import Any, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr

from trogdor.spec.base import Spec, SpecError
from trogdor.spec.network import End
from trogdor.topology import Topology

BROKER_MAIN = "kafka.Kafka"

Nodes = tuple[StrictStr, ...]


class KafkaFaultSpec(Spec):
    """What all faults of Kafka share: whom to ask. The nodes are known once the cluster has answered."""

    is_composite = True

    bootstrap_servers: StrictStr = Field("", description="HOST:PORT, …; else every node with an agent, at 9092.")
    ca_file: StrictStr = Field("", description="A PEM file with the authorities of the brokers' TLS.")
    ask_at: Literal["start", "creation"] = Field(
        "start", description="When the cluster is asked; one that cannot be asked is an error then, and no fault."
    )

    def classes(self) -> set[str]:
        return set()

    def check(self, topology: Topology) -> None:
        for field in ("node_names", "controller_nodes"):
            if unknown := sorted(set(getattr(self, field, ())) - set(topology.nodes)):
                raise SpecError(f"Unknown node names: {', '.join(unknown)}")

    def target_nodes(self, topology: Topology) -> list[str]:
        """Where it could run: every node with an agent. Which it is, the cluster says."""
        if not topology.agents():
            raise SpecError("No node has an agent.")
        return topology.agents()


class ControllerSuspendFaultSpec(KafkaFaultSpec, name="trogdor.fault.ControllerSuspendFaultSpec"):
    """Suspends the active controller's process: the quorum's leader in KRaft, who holds /controller with ZooKeeper."""

    example: ClassVar[dict[str, Any]] = {"bootstrapServers": "n1:9092,n2:9092,n3:9092"}

    zookeeper: StrictStr = Field("", description="HOST:PORT, … of ZooKeeper; then it is asked instead of the quorum.")
    follow: StrictBool = Field(False, description="When the controller moves, the next one is suspended too.")
    java_main: StrictStr = Field(BROKER_MAIN, description="The main class of the process to suspend.")


class PartitionLeaderFaultSpec(KafkaFaultSpec, name="trogdor.fault.PartitionLeaderFaultSpec"):
    """Suspends or kills the leader of a partition, cuts it off from its followers, or fails its disk."""

    example: ClassVar[dict[str, Any]] = {"topic": "orders", "partition": 0, "action": "suspend"}

    topic: StrictStr = Field(min_length=1, max_length=249, description="The topic.")
    partition: StrictInt = Field(0, ge=0, description="The partition's number.")
    action: Literal["suspend", "kill", "isolate", "disk"] = Field(
        "suspend",
        description="kill: started again at the end; isolate: from its followers only; disk: reads fail, by Kibosh.",
    )
    port: StrictInt = Field(9092, ge=1, le=65535, description="The port followers fetch from (isolate).")
    mount_path: StrictStr = Field("", description="Where Kibosh is mounted on the brokers (disk).")
    prefix: StrictStr = Field("", description="Files below it whose names begin so (disk).")
    error_code: StrictInt = Field(5, ge=1, description="The errno that operations fail with (disk).")
    java_main: StrictStr = Field(BROKER_MAIN, description="The main class of its process (suspend, kill).")

    def check(self, topology: Topology) -> None:
        if self.action == "disk" and not self.mount_path:
            raise SpecError("mountPath: where Kibosh is mounted is needed for action disk")


class KillsBrokers(KafkaFaultSpec):
    """How brokers are killed and started again."""

    signal: Literal["KILL", "TERM"] = Field("KILL", description="TERM: asked to end, killed after that time.")
    restart_command: tuple[StrictStr, ...] = Field(
        (), max_length=1000, description="What starts it again on its node; none: as it was started before."
    )
    java_main: StrictStr = Field(BROKER_MAIN, description="The main class of the process to kill.")


class BrokerKillFaultSpec(KillsBrokers, name="trogdor.fault.BrokerKillFaultSpec"):
    """Kills brokers, named by their nodes or their ids; at the end they are started again."""

    example: ClassVar[dict[str, Any]] = {"brokerIds": [1]}

    node_names: Nodes = Field((), description="The brokers' nodes.")
    broker_ids: tuple[StrictInt, ...] = Field((), max_length=1000, description="Or the brokers' ids.")

    def check(self, topology: Topology) -> None:
        super().check(topology)
        if bool(self.node_names) == bool(self.broker_ids):
            raise SpecError("nodeNames, brokerIds: one of them is needed")


class RollingRestartFaultSpec(KillsBrokers, name="trogdor.fault.RollingRestartFaultSpec"):
    """Restarts one broker after the other; the next one once all are in sync again, or after an interval."""

    example: ClassVar[dict[str, Any]] = {"downMs": 5000}

    signal: Literal["KILL", "TERM"] = Field("TERM", description="TERM: asked to end, killed after downMs.")
    node_names: Nodes = Field((), description="The brokers' nodes, in this order; none: every broker's.")
    down_ms: StrictInt = Field(5000, ge=1, le=3_600_000, description="How long each is down.")
    interval_ms: StrictInt = Field(
        0, ge=0, le=86_400_000, description="From one restart's start to the next; 0: when all are in sync again."
    )

    def check(self, topology: Topology) -> None:
        super().check(topology)
        if 0 < self.interval_ms < self.down_ms:
            raise SpecError("intervalMs: shorter than downMs, two brokers would be down at once")


class IsrShrinkFaultSpec(KafkaFaultSpec, name="trogdor.fault.IsrShrinkFaultSpec"):
    """Keeps followers of a partition from fetching, so that they fall out of sync; clients reach every broker."""

    example: ClassVar[dict[str, Any]] = {"topic": "orders", "partition": 0, "keep": 1}

    topic: StrictStr = Field(min_length=1, max_length=249, description="The topic.")
    partition: StrictInt = Field(0, ge=0, description="The partition's number.")
    keep: StrictInt = Field(1, ge=1, description="How many replicas stay in sync, the leader among them.")
    port: StrictInt = Field(9092, ge=1, le=65535, description="The port followers fetch from.")


class CoordinatorFaultSpec(KafkaFaultSpec, name="trogdor.fault.CoordinatorFaultSpec"):
    """Suspends the coordinator of a consumer group or of a transactional id."""

    example: ClassVar[dict[str, Any]] = {"group": "billing"}

    group: StrictStr = Field("", max_length=1000, description="The consumer group.")
    transactional_id: StrictStr = Field("", max_length=1000, description="Or the transactional id.")
    java_main: StrictStr = Field(BROKER_MAIN, description="The main class of the process to suspend.")

    def check(self, topology: Topology) -> None:
        if bool(self.group) == bool(self.transactional_id):
            raise SpecError("group, transactionalId: one of them is needed")


class ZooKeeperPartitionFaultSpec(KafkaFaultSpec, name="trogdor.fault.ZooKeeperPartitionFaultSpec"):
    """Cuts brokers off from ZooKeeper; everything else flows."""

    example: ClassVar[dict[str, Any]] = {"nodeNames": ["n1"], "zookeeperNodes": ["zk1"]}

    node_names: Nodes = Field((), description="The brokers' nodes; none: every broker's.")
    zookeeper_nodes: tuple[End, ...] = Field(min_length=1, description="ZooKeeper's nodes, or addresses.")
    port: StrictInt = Field(2181, ge=1, le=65535, description="ZooKeeper's port for clients.")
    direction: Literal["both", "to", "from"] = Field(
        "both", description="to: what brokers send to ZooKeeper; from: what its node sends them over TCP."
    )


class ControllerPartitionFaultSpec(KafkaFaultSpec, name="trogdor.fault.ControllerPartitionFaultSpec"):
    """Cuts brokers off from KRaft's controllers; everything else flows."""

    example: ClassVar[dict[str, Any]] = {"nodeNames": ["n1"]}

    node_names: Nodes = Field((), description="The brokers' nodes; none: every broker's.")
    controller_nodes: Nodes = Field((), description="The controllers' nodes; none: every voter's of the quorum.")
    port: StrictInt = Field(9093, ge=1, le=65535, description="The controllers' port.")
    direction: Literal["to", "from"] = Field(
        "to", description="to: what brokers send to controllers; from: all that their nodes send brokers over TCP."
    )
