"""What a Kafka server is told: its properties, and what formatting its directory writes. Pure."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping

PORT, CONTROLLER_PORT = 9092, 9093
BROKER, CONTROLLER = "broker", "controller"
CLUSTER_ID = "dHJvZ2RvciBsYWIga2Fma2"

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
"""What makes a cluster small and quick to notice a fault."""

KRAFT = {
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "1000",
}
ZOOKEEPER = {"zookeeper.session.timeout.ms": "6000", "zookeeper.connection.timeout.ms": "30000"}


def server_properties(
    host: str,
    *,
    brokers: Mapping[str, int],
    controllers: Mapping[str, int],
    data: str,
    zookeeper: str | None = None,
) -> dict[str, str]:
    """server.properties of the server on a host, which is advertised by that name.

    brokers, controllers: ids by host; a host that is both has one id, and runs both in one process. data: the directory
    of its logs. zookeeper: the ensemble's connection string, for a broker with ZooKeeper.
    """
    replicas = str(min(3, len(brokers)))
    enough = str(min(2, len(brokers)))
    properties = {
        **QUICK,
        "log.dirs": data,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": enough,
    }
    if host in brokers:
        properties["listeners"] = f"PLAINTEXT://:{PORT}"
        properties["advertised.listeners"] = f"PLAINTEXT://{host}:{PORT}"
    if zookeeper is not None:
        return properties | ZOOKEEPER | {"broker.id": str(brokers[host]), "zookeeper.connect": zookeeper}
    share = {
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": enough,
    }
    return properties | _kraft(host, brokers, controllers) | share


def _kraft(host: str, brokers: Mapping[str, int], controllers: Mapping[str, int]) -> dict[str, str]:
    roles = [role for role, members in ((BROKER, brokers), (CONTROLLER, controllers)) if host in members]
    ports = {BROKER: f"PLAINTEXT://:{PORT}", CONTROLLER: f"CONTROLLER://:{CONTROLLER_PORT}"}
    return KRAFT | {
        "process.roles": ",".join(roles),
        "node.id": str(brokers.get(host) or controllers[host]),
        "listeners": ",".join(ports[role] for role in roles),
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "controller.quorum.voters": ",".join(
            f"{number}@{name}:{CONTROLLER_PORT}" for name, number in controllers.items()
        ),
    }


def meta_properties(number: int) -> str:
    """What `kafka-storage format` writes to meta.properties, without a JVM of its own for it."""
    directory = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return f"version=1\ncluster.id={CLUSTER_ID}\nnode.id={number}\ndirectory.id={directory}\n"


def text(properties: Mapping[str, str]) -> str:
    """Properties as a file has them."""
    return "".join(f"{key}={value}\n" for key, value in properties.items())
