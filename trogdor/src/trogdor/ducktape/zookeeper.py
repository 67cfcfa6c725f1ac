"""A ZooKeeper ensemble (3.8, from the jars of Kafka 3.9.1) as a ducktape service."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trogdor.ducktape.java import JavaService, address_of
from trogdor.lab.recipes.jars import Profile
from trogdor.lab.recipes.zookeeper import CLIENT_PORT, MAIN, properties

START_TIMEOUT_SEC = 120


class ZookeeperService(JavaService):
    """One server a node. Interface as kafkatest's ZookeeperService, without security."""

    PERSISTENT_ROOT = "/mnt/zookeeper"
    MAIN = MAIN
    PROFILE: Profile = "kafka-3.9.1"
    HOME_SETTING = "zookeeper_home"

    def __init__(self, context: Any, num_nodes: int = 1, nodes: Iterable[Any] | None = None) -> None:
        """``nodes``: of others, instead of ``num_nodes`` of its own."""
        super().__init__(context, num_nodes, nodes)

    def start(self, **kwargs: Any) -> None:
        """Starts every server, and returns once all listen."""
        super().start(**kwargs)
        for node in self.nodes:
            self.await_port(node, CLIENT_PORT, START_TIMEOUT_SEC)

    def start_node(self, node: Any, **kwargs: Any) -> None:
        """Starts a server; does not wait."""
        number, config = self.idx(node), f"{self.PERSISTENT_ROOT}/zookeeper.properties"
        files = {
            config: properties(self.PERSISTENT_ROOT, number, [address_of(each) for each in self.nodes]),
            f"{self.PERSISTENT_ROOT}/data/myid": f"{number}\n",
        }
        self.start_java(node, [config], files=files)

    def connect_setting(self, chroot: str = "") -> str:
        """The connection string for clients."""
        return ",".join(f"{address_of(node)}:{CLIENT_PORT}" for node in self.nodes) + chroot
