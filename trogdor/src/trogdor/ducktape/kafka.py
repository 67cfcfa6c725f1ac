"""A Kafka cluster as a ducktape service: KRaft (4.1.0), or with ZooKeeper (3.9.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ducktape.utils.util import wait_until

from trogdor.ducktape.java import JavaService, address_of
from trogdor.ducktape.zookeeper import ZookeeperService
from trogdor.lab.recipes.jars import Profile
from trogdor.lab.recipes.kafka_config import PORT, meta_properties, server_properties, text
from trogdor.resolve import CannotResolve
from trogdor.resolve.kafka_protocol import Connection, Metadata, Partition, connect

START_TIMEOUT_SEC = 180
KNOWN_TIMEOUT_SEC = 60
ASK_TIMEOUT_S = 5.0
TOPIC_COMMAND = "org.apache.kafka.tools.TopicCommand"
_TOOLS: Profile = "kafka-tools-4.1.0"


class KafkaService(JavaService):
    """One broker a node; with KRaft the first three are controllers too. Plaintext only.

    Names as in kafkatest's KafkaService. Broker ids are the nodes' numbers, from 1.
    """

    PERSISTENT_ROOT = "/mnt/kafka"
    DATA_DIR = f"{PERSISTENT_ROOT}/data"
    MAIN = "kafka.Kafka"
    PROFILE: Profile = "kafka-4.1.0"
    HEAP_MB = 256

    def __init__(
        self,
        context: Any,
        num_nodes: int,
        zk: ZookeeperService | None = None,
        *,
        topics: Mapping[str, Mapping[str, Any]] | None = None,
        server_prop_overrides: Iterable[Sequence[str]] = (),
        jmx_port: int | None = None,
        nodes: Iterable[Any] | None = None,
    ) -> None:
        """``num_nodes`` brokers on nodes of its own, or one on each of these ``nodes`` of others.

        zk: then it is Kafka 3.9.1 with ZooKeeper.
        topics: made at the start: name → as ``create_topic``.
        server_prop_overrides: further ``[key, value]`` of server.properties.
        jmx_port: on which each broker's MBeans are served, on loopback; none by default.
        """
        super().__init__(context, num_nodes, nodes)
        if zk is not None:
            self.PROFILE = "kafka-3.9.1"
        self.zk = zk
        self.topics = dict(topics or {})
        self.server_prop_overrides = {key: str(value) for key, value in server_prop_overrides}
        self.jmx_port = jmx_port

    @property
    def ids(self) -> dict[str, int]:
        """Broker ids by address."""
        return {address_of(node): number for number, node in enumerate(self.nodes, start=1)}

    def node_of(self, number: int) -> Any:
        """The node of a broker."""
        return self.get_node(number)

    def start(self, **kwargs: Any) -> None:
        """Starts every broker, returns once the cluster has let all of them in, and its topics are made.

        ``clean=False`` leaves what is in PERSISTENT_ROOT: for data on a disk that a KiboshService has mounted there.
        """
        super().start(**kwargs)
        for node in self.nodes:
            self.await_port(node, PORT, START_TIMEOUT_SEC)
        for name, config in self.topics.items():
            self.create_topic({"topic": name, **config})

    def start_node(self, node: Any, **kwargs: Any) -> None:
        """Starts a broker with the data it has; does not wait."""
        config, meta = f"{self.PERSISTENT_ROOT}/server.properties", f"{self.DATA_DIR}/meta.properties"
        files = {config: text(self._properties(node))}
        if self.zk is None and not node.account.exists(meta):
            files[meta] = meta_properties(self.ids[address_of(node)])
        self.start_java(node, [config], files=files, options=self._jmx_options())

    def restart_node(self, node: Any, clean_shutdown: bool = True) -> None:
        """Ends a broker and starts it again; returns once it accepts connections."""
        self.stop_node(node, clean_shutdown)
        self.start_node(node)
        self.await_port(node, PORT, START_TIMEOUT_SEC)

    def _properties(self, node: Any) -> dict[str, str]:
        controllers = {} if self.zk else dict(list(self.ids.items())[:3])
        zookeeper = self.zk.connect_setting() if self.zk else None
        host = address_of(node)
        made = server_properties(
            host, brokers=self.ids, controllers=controllers, data=self.DATA_DIR, zookeeper=zookeeper
        )
        return made | self.server_prop_overrides

    def _jmx_options(self) -> list[str]:
        if self.jmx_port is None:
            return []
        remote = "-Dcom.sun.management.jmxremote"
        return [
            f"{remote}.port={self.jmx_port}", f"{remote}.host=127.0.0.1", f"{remote}.authenticate=false",
            f"{remote}.ssl=false", "-Djava.rmi.server.hostname=127.0.0.1",
        ]  # fmt: skip

    def stop(self, **kwargs: Any) -> None:
        """Ends every broker: cleanly as long as a quorum is left that could let it go, the last ones at once."""
        self.logger.info("%s: stopping", self.who_am_i())
        voters = min(3, len(self.nodes))
        for left, node in zip(range(len(self.nodes) - 1, -1, -1), self.nodes, strict=True):
            self.stop_node(node, clean_shutdown=self.zk is not None or left > voters // 2)

    def bootstrap_servers(
        self, protocol: str = "PLAINTEXT", validate: bool = True, offline_nodes: Iterable[Any] = ()
    ) -> str:
        """The brokers for clients, without those that are offline; the other parameters are kafkatest's."""
        left_out = list(offline_nodes)
        return ",".join(f"{address_of(node)}:{PORT}" for node in self.nodes if node not in left_out)

    def create_topic(self, topic_cfg: Mapping[str, Any], node: Any = None) -> None:
        """Make a topic of ``topic``, ``partitions``, ``replication-factor``, ``configs``; every broker then knows it.

        Raises RemoteCommandError, TimeoutError.
        """
        node = node or self.nodes[0]
        words = ["--bootstrap-server", self.bootstrap_servers(), "--create", "--topic", topic_cfg["topic"]]
        for key in ("partitions", "replication-factor"):
            if key in topic_cfg:
                words += [f"--{key}", str(topic_cfg[key])]
        for key, value in (topic_cfg.get("configs") or {}).items():
            words += ["--config", f"{key}={value}"]
        node.account.ssh(self.java(node, TOPIC_COMMAND, words, profile=_TOOLS))
        name = topic_cfg["topic"]
        wait_until(lambda: self._is_known(name), KNOWN_TIMEOUT_SEC, 0.1, err_msg=f"not every broker knows of {name}")

    def _is_known(self, topic: str) -> bool:
        """Whether every living broker has heard of a topic and its leaders: the controller tells them afterwards."""
        for node in filter(self.alive, self.nodes):
            try:
                with connect(address_of(node), PORT, ASK_TIMEOUT_S) as connection:
                    partitions = connection.metadata([topic]).partitions
            except (OSError, CannotResolve):
                return False
            if not partitions or any(each.leader < 0 for each in partitions.values()):
                return False
        return True

    def _ask(self, question: Callable[[Connection], Any], without: Iterable[Any] = ()) -> Any:
        """What the first broker that answers says. Raises ConnectionError with what the last one did instead."""
        failure: object = "there is no broker to ask"
        left_out = list(without)
        for node in self.nodes:
            try:
                if node not in left_out:
                    with connect(address_of(node), PORT, ASK_TIMEOUT_S) as connection:
                        return question(connection)
            except (OSError, CannotResolve) as error:
                failure = error
        raise ConnectionError(str(failure))

    def controller(self, without: Iterable[Any] = ()) -> Any:
        """The node of KRaft's active controller; None at a moment without one. ``without``: nodes not to be asked."""
        leader = self._ask(lambda connection: connection.quorum(), without).leader
        return self.node_of(leader) if leader > 0 else None

    def _partition(self, topic: str, partition: int, without: Iterable[Any]) -> Partition:
        metadata: Metadata = self._ask(lambda connection: connection.metadata([topic]), without)
        if (topic, partition) not in metadata.partitions:
            raise ConnectionError(f"{topic} has no partition {partition} at present")
        return metadata.partitions[topic, partition]

    def leader(self, topic: str, partition: int = 0, without: Iterable[Any] = ()) -> Any:
        """The node of a partition's leader; None at a moment without one."""
        leader = self._partition(topic, partition, without).leader
        return self.node_of(leader) if leader > 0 else None

    def isr_idx_list(self, topic: str, partition: int = 0, without: Iterable[Any] = ()) -> list[int]:
        """The ids of a partition's replicas that are in sync."""
        return sorted(self._partition(topic, partition, without).in_sync)

    def registered(self, without: Iterable[Any] = ()) -> list[int]:
        """The ids of the brokers that the cluster has."""
        metadata: Metadata = self._ask(lambda connection: connection.metadata(), without)
        return sorted(metadata.brokers)


class KafkaClient(JavaService):
    """A program of Kafka's that works on one topic."""

    def __init__(
        self, context: Any, num_nodes: int, kafka: KafkaService, topic: str, nodes: Iterable[Any] | None
    ) -> None:
        super().__init__(context, num_nodes, nodes)
        self.kafka, self.topic = kafka, topic

    def _of_topic(self) -> list[str]:
        """The arguments that all of them have."""
        return ["--bootstrap-server", self.kafka.bootstrap_servers(), "--topic", self.topic]
