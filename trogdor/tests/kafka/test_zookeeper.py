"""Kafka with ZooKeeper: a broker cut off from it loses its session, and has one again afterwards."""

from collections.abc import Iterator

import pytest

from trogdor.lab.lab import Lab
from trogdor.lab.recipes.kafka import Kafka
from trogdor.lab.recipes.zookeeper import Zookeeper

from .conftest import resolve, until
from .faulting import fault

Cluster = tuple[Lab, Kafka, Zookeeper]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with (
        Lab(nodes=["n1", "n2", "zk1"]) as lab,
        Zookeeper(lab, ["zk1"]) as zookeeper,
        Kafka(lab, ["n1", "n2"], zookeeper=zookeeper) as kafka,
    ):
        lab.start_daemons()
        until(lambda: all(node["up"] for node in lab.client().nodes().values()), "every agent is up")
        yield lab, kafka, zookeeper


def test_the_controller_cut_off_from_zookeeper_loses_its_session_and_the_other_takes_over(cluster: Cluster) -> None:
    lab, kafka, zookeeper = cluster

    def controller() -> tuple[str, int]:
        found = resolve(lab, "controller", zookeeper=zookeeper.connect)
        return next(iter(found.get("nodes", [])), ""), found.get("epoch") or 0

    until(lambda: controller()[0], "there is a controller")
    first, epoch = controller()
    other = next(name for name in kafka.brokers if name != first)
    with fault(lab, "cut", "ZooKeeperPartitionFaultSpec", nodeNames=[first], zookeeperNodes=["zk1"]):
        until(lambda: controller()[0] == other, "ZooKeeper expires the session, and the other broker takes over")
        assert controller()[1] > epoch
        asked = f"{other}:9092"
        until(lambda: resolve(lab, "brokers", bootstrapServers=asked).get("nodes") == [other], "the first is gone")

    def back() -> bool:
        return sorted(resolve(lab, "brokers", bootstrapServers=f"{other}:9092").get("nodes", [])) == ["n1", "n2"]

    until(back, "the first is back")
