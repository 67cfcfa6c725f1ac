"""A real Kafka cluster on a lab's nodes: KRaft (4.1.0), or with ZooKeeper (3.9.1).

    with Lab(nodes=3) as lab, Kafka(lab) as kafka:
        print(kafka.bootstrap)

Everything is under the node's own /mnt/kafka. `KAFKA_HOME` names an unpacked Kafka to run instead.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from trogdor.lab.lab import Lab
from trogdor.lab.node import Node, NodeProcess
from trogdor.lab.recipes.jars import java_command, kafka_class_path
from trogdor.lab.recipes.zookeeper import Zookeeper
from trogdor.lab.runtime import LabError

PORT, CONTROLLER_PORT = 9092, 9093
HOME = "/mnt/kafka"
MAIN = "kafka.Kafka"
BROKER, CONTROLLER = "broker", "controller"
CONTROLLER_ID = 3000
"""Ids of separate controllers are counted from here, so that a broker keeps the number of its node."""

CLUSTER_ID = "dHJvZ2RvciBsYWIga2Fma2"
HEAP_MB = 256
LOG = "kafka"
_POLL_S = 0.02

QUICK = {
    "offsets.topic.num.partitions": "3",
    "transaction.state.log.num.partitions": "3",
    "share.coordinator.state.topic.num.partitions": "3",
    "group.initial.rebalance.delay.ms": "0",
    "num.network.threads": "2",
    "num.io.threads": "3",
    "log.cleaner.enable": "false",
    "auto.create.topics.enable": "false",
    "replica.lag.time.max.ms": "5000",
    "controlled.shutdown.enable": "true",
}
"""What makes a cluster small and quick to notice a fault; `config` takes precedence."""

KRAFT = {
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "1000",
}
ZOOKEEPER = {"zookeeper.session.timeout.ms": "6000", "zookeeper.connection.timeout.ms": "30000"}


class Kafka:
    """A cluster, one broker on each of the nodes.

    nodes: the brokers' nodes; all of the lab's if absent.
    controllers: KRaft: further nodes for controllers of their own; absent, brokers are controllers too (at most 3).
    zookeeper: the ensemble to use; then it is Kafka 3.9.1 with ZooKeeper.
    config: further lines of server.properties.
    Raises LabError with the end of the log when a server ends or is not ready in time.
    """

    def __init__(
        self,
        lab: Lab,
        nodes: Sequence[str] | None = None,
        *,
        controllers: Sequence[str] = (),
        zookeeper: Zookeeper | None = None,
        config: Mapping[str, str] | None = None,
        heap_mb: int = HEAP_MB,
        ready_timeout_s: float = 180.0,
    ) -> None:
        self._lab, self._zookeeper, self._heap_mb = lab, zookeeper, heap_mb
        self._config = dict(config or {})
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
        self._processes: dict[str, NodeProcess] = {}
        try:
            for name in {**self.controllers, **self.brokers}:
                self.start(name)
            self.await_ready(ready_timeout_s)
        except BaseException:
            self.close()
            raise

    @property
    def bootstrap(self) -> str:
        """The brokers for clients: `n1:9092,…`."""
        return ",".join(f"{name}:{PORT}" for name in self.brokers)

    @property
    def processes(self) -> dict[str, NodeProcess]:
        """The servers' processes by node."""
        return dict(self._processes)

    def node_of(self, number: int) -> str:
        """The node of a broker or controller by its id. Raises KeyError."""
        return next(name for name, its in (*self.brokers.items(), *self.controllers.items()) if its == number)

    def start(self, name: str) -> None:
        """Start a node's server, with the data it has; does not wait."""
        node = self._lab.node(name)
        home = node.path(HOME)
        home.mkdir(parents=True, exist_ok=True)
        if self._zookeeper is None:
            _format(home / "data", self._number(name))
        properties = self._properties(node)
        (home / "server.properties").write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        command = java_command(self._jars, MAIN, f"{HOME}/server.properties", heap_mb=self._heap_mb)
        self._processes[name] = node.popen(command, log=LOG)

    def _number(self, name: str) -> int:
        return self.brokers.get(name) or self.controllers[name]

    def _properties(self, node: Node) -> dict[str, str]:
        replicas = str(min(3, len(self.brokers)))
        enough = str(min(2, len(self.brokers)))
        properties = {
            **QUICK,
            "log.dirs": f"{HOME}/data",
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": enough,
        }
        if node.name in self.brokers:
            properties["listeners"] = f"PLAINTEXT://:{PORT}"
            properties["advertised.listeners"] = f"PLAINTEXT://{node.name}:{PORT}"
        if self._zookeeper is not None:
            properties |= ZOOKEEPER | {"broker.id": str(self._number(node.name))}
            properties["zookeeper.connect"] = self._zookeeper.connect
        else:
            properties |= self._kraft(node, replicas, enough)
        return properties | self._config

    def _kraft(self, node: Node, replicas: str, enough: str) -> dict[str, str]:
        roles = [BROKER] if node.name in self.brokers else []
        listeners = [f"PLAINTEXT://:{PORT}"] if roles else []
        if node.name in self.controllers:
            roles.append(CONTROLLER)
            listeners.append(f"CONTROLLER://:{CONTROLLER_PORT}")
        voters = [f"{number}@{name}:{CONTROLLER_PORT}" for name, number in self.controllers.items()]
        return KRAFT | {
            "process.roles": ",".join(roles),
            "node.id": str(self._number(node.name)),
            "listeners": ",".join(listeners),
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "controller.quorum.voters": ",".join(voters),
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": enough,
        }

    def await_ready(self, timeout_s: float = 180.0) -> None:
        """Wait until every server accepts connections: a broker does once the cluster has let it in.

        Raises LabError with the end of the log when one ends or time is up.
        """
        until = time.monotonic() + timeout_s
        for name, process in self._processes.items():
            node, port = self._lab.node(name), PORT if name in self.brokers else CONTROLLER_PORT
            while not _accepts(node, port):
                if process.poll() is not None:
                    raise LabError(f"Kafka on {name} ended with {process.returncode}:\n{node.log(LOG)[-2000:]}")
                if time.monotonic() > until:
                    raise LabError(f"Kafka on {name} is not ready:\n{node.log(LOG)[-2000:]}")
                time.sleep(_POLL_S)

    def close(self) -> None:
        """Kill every server."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait(30)

    def __enter__(self) -> Kafka:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()


def _format(data: Path, number: int) -> None:
    """What `kafka-storage format` writes, without a JVM of its own for it."""
    meta = data / "meta.properties"
    if meta.exists():
        return
    data.mkdir(parents=True, exist_ok=True)
    directory = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    meta.write_text(f"version=1\ncluster.id={CLUSTER_ID}\nnode.id={number}\ndirectory.id={directory}\n")


def _accepts(node: Node, port: int) -> bool:
    try:
        node.connect(node.address, port, 2.0).close()
    except OSError:
        return False
    return True
