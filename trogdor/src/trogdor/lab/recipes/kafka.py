"""A real Kafka cluster on a lab's nodes: KRaft (4.1.0), or with ZooKeeper (3.9.1).

    with Lab(nodes=3) as lab, Kafka(lab) as kafka:
        print(kafka.bootstrap)

Everything is under the node's own /mnt/kafka. `KAFKA_HOME` names an unpacked Kafka to run instead.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from trogdor.lab.lab import Lab
from trogdor.lab.node import Node
from trogdor.lab.recipes.jars import java_command, kafka_class_path
from trogdor.lab.recipes.kafka_config import CONTROLLER_PORT, PORT, meta_properties, server_properties, text
from trogdor.lab.recipes.kafka_ledger import Ledger
from trogdor.lab.recipes.servers import Servers
from trogdor.lab.recipes.zookeeper import Zookeeper
from trogdor.resolve import CannotResolve
from trogdor.resolve.kafka_protocol import Connection, Partition

HOME = "/mnt/kafka"
MAIN = "kafka.Kafka"
CONTROLLER_ID = 3000
"""Ids of separate controllers are counted from here, so that a broker keeps the number of its node."""

HEAP_MB = 256
_ANSWER_TIMEOUT_S = 2.0


class KafkaError(Exception):
    """No broker answers the question; what the last one that was asked did instead."""


class Kafka(Servers):
    """A cluster, one broker on each of the nodes.

    nodes: the brokers' nodes; all of the lab's if absent.
    controllers: KRaft: further nodes for controllers of their own; absent, brokers are controllers too (at most 3).
    zookeeper: the ensemble to use; then it is Kafka 3.9.1 with ZooKeeper.
    config: further lines of server.properties.
    data: the directory of the brokers' logs, on whatever is mounted there.
    Raises LabError with the end of the log when a server ends or is not ready in time.
    """

    system, log = "Kafka", "kafka"

    def __init__(
        self,
        lab: Lab,
        nodes: Sequence[str] | None = None,
        *,
        controllers: Sequence[str] = (),
        zookeeper: Zookeeper | None = None,
        config: Mapping[str, str] | None = None,
        data: str = f"{HOME}/data",
        heap_mb: int = HEAP_MB,
        ready_timeout_s: float = 180.0,
    ) -> None:
        super().__init__(lab)
        self._zookeeper, self._heap_mb = zookeeper, heap_mb
        self._config, self._data = dict(config or {}), data
        self._jars = kafka_class_path("kafka-3.9.1" if zookeeper else "kafka-4.1.0")
        brokers = list(nodes or lab.nodes)
        self.brokers: dict[str, int] = {name: number for number, name in enumerate(brokers, start=1)}
        """Broker ids by node."""
        self.controllers: dict[str, int] = {}
        """Ids of KRaft's controllers by node; a broker that is a controller too has one id."""
        if zookeeper is None and controllers:
            self.controllers = {name: number for number, name in enumerate(controllers, start=CONTROLLER_ID)}
        elif zookeeper is None:
            self.controllers = dict(list(self.brokers.items())[:3])
        self._bring_up({**self.controllers, **self.brokers}, self.start, self._accepts, ready_timeout_s)

    @property
    def bootstrap(self) -> str:
        """The brokers for clients: `n1:9092,…`."""
        return ",".join(f"{name}:{PORT}" for name in self.brokers)

    def node_of(self, number: int) -> str:
        """The node of a broker or controller by its id. Raises KeyError."""
        return next(name for name, its in (*self.brokers.items(), *self.controllers.items()) if its == number)

    def leader(self, topic: str, partition: int = 0, *, without: Collection[str] = ()) -> str | None:
        """The node of a partition's leader, None at a moment without one. Raises KafkaError.

        without: nodes that are not to be asked.
        """
        leader = self._partition(topic, partition, without).leader
        return self.node_of(leader) if leader >= 0 else None

    def in_sync(self, topic: str, partition: int = 0, *, without: Collection[str] = ()) -> list[str]:
        """The nodes of a partition's replicas that are in sync, sorted; ``without`` and errors as of ``leader``."""
        return sorted(map(self.node_of, self._partition(topic, partition, without).in_sync))

    def _partition(self, topic: str, partition: int, without: Collection[str]) -> Partition:
        """A partition as the first broker that answers knows it."""
        failure = "there is no broker to ask"
        for node in (self._lab.node(name) for name in self.brokers if name not in without):
            try:
                with Connection(node.connect(node.address, PORT, _ANSWER_TIMEOUT_S), node.name) as connection:
                    return connection.metadata([topic]).partitions[topic, partition]
            except (OSError, CannotResolve) as error:
                failure = f"{node.name}: {error or type(error).__name__}"
            except KeyError:
                failure = f"{node.name}: {topic} has no partition {partition} at present"
        raise KafkaError(failure)

    def ledger(self, topic: str) -> Ledger:
        """A new topic of three replicas that keeps count of what is acknowledged; written from the coordinator's node.

        Raises subprocess.CalledProcessError.
        """
        ledger = Ledger(self._lab.coordinator, self.bootstrap, topic)
        ledger.create()
        return ledger

    def start(self, name: str) -> None:
        """Start a node's server, with the data it has; does not wait."""
        node = self._lab.node(name)
        home = node.path(HOME)
        home.mkdir(parents=True, exist_ok=True)
        if self._zookeeper is None:
            _format(node, self._data, self._number(name))
        (home / "server.properties").write_text(text(self._properties(name)))
        command = java_command(self._jars, MAIN, f"{HOME}/server.properties", heap_mb=self._heap_mb)
        self._run(name, command)

    def _number(self, name: str) -> int:
        return self.brokers.get(name) or self.controllers[name]

    def _properties(self, name: str) -> dict[str, str]:
        zookeeper = self._zookeeper.connect if self._zookeeper else None
        return (
            server_properties(
                name, brokers=self.brokers, controllers=self.controllers, data=self._data, zookeeper=zookeeper
            )
            | self._config
        )

    def _accepts(self, name: str) -> bool:
        """Whether a server accepts connections: a broker does once the cluster has let it in."""
        node = self._lab.node(name)
        try:
            node.connect(node.address, PORT if name in self.brokers else CONTROLLER_PORT, 2.0).close()
        except OSError:
            return False
        return True


def _format(node: Node, data: str, number: int) -> None:
    """What `kafka-storage format` leaves there, unless it was; from within, where its disks are mounted."""
    meta = f"{data}/meta.properties"
    if node.exec(["test", "-e", meta]).returncode:
        node.exec(["install", "-D", "-m", "644", "/dev/stdin", meta], input=meta_properties(number), check=True)
