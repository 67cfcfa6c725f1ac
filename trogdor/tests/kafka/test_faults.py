"""Faults of Kafka, made through the coordinator, seen from outside on real clusters, in KRaft and with ZooKeeper.

Under each of them a producer writes with acks=all and min.insync.replicas=2, and no acknowledged message is lost.
"""

import importlib.util
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from lab.waiting import forget_all
from trogdor.lab.lab import Lab
from trogdor.lab.recipes.kafka import Kafka
from trogdor.lab.recipes.zookeeper import Zookeeper
from trogdor.testing.disks import mounted

from .conftest import PATIENCE_S, resolve, until
from .faulting import FAULT_MS, TOPIC, Cluster

BROKERS = ["n1", "n2", "n3"]
DISK = "/mnt/disk"
CONFIG = {"min.insync.replicas": "2", "default.replication.factor": "3"}
KIBOSH = importlib.util.find_spec("kibosh") is not None
KRAFT, ZOOKEEPER = (pytest.param(mode, marks=pytest.mark.xdist_group(mode)) for mode in ("kraft", "zookeeper"))


@pytest.fixture(scope="module", params=[KRAFT, ZOOKEEPER])
def running(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    ensemble = ["zk1"] if request.param == "zookeeper" else []
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(nodes=[*BROKERS, *ensemble]))
        for name in BROKERS if KIBOSH else ():
            stack.enter_context(mounted(lab.node(name), DISK))
        zookeeper = stack.enter_context(Zookeeper(lab, ensemble)) if ensemble else None
        kafka = stack.enter_context(Kafka(lab, BROKERS, zookeeper=zookeeper, config=CONFIG, data=DISK))
        lab.start_daemons()
        client = stack.enter_context(lab.client())
        yield Cluster(lab, kafka, kafka.ledger(TOPIC), zookeeper, client)


@pytest.fixture
def cluster(running: Cluster) -> Iterator[Cluster]:
    yield running
    forget_all(running.client)


DELETE = """
import sys
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
bootstrap, topic, offset = sys.argv[1:]
partition = TopicPartition(topic, 0, int(offset))
client = AdminClient({"bootstrap.servers": bootstrap})
client.delete_records([partition])[partition].result(60)
"""


def delete_records(cluster: Cluster, topic: str, before: int) -> None:
    """Deletes the messages of a topic before an offset."""
    command = [sys.executable, "-c", DELETE, cluster.kafka.bootstrap, topic, str(before)]
    cluster.lab.coordinator.exec(command, timeout=PATIENCE_S, check=True)


@pytest.mark.parametrize("running", [KRAFT], indirect=True)
def test_an_acknowledged_message_that_is_gone_is_missed(cluster: Cluster) -> None:
    ledger = cluster.kafka.ledger(topic := f"thinned-{time.time_ns()}")

    def lose() -> None:
        with replace(cluster, ledger=ledger).losing_nothing():
            until(lambda: len(ledger.acknowledged()) >= 10, "messages are acknowledged")
            delete_records(cluster, topic, 10)

    with pytest.raises(AssertionError, match=r"^10 acknowledged messages are lost"):
        lose()
    assert ledger.lost() == ledger.acknowledged()[:10]


def test_a_suspended_controller_is_replaced(cluster: Cluster) -> None:
    with cluster.losing_nothing():
        first, epoch = until(lambda: (now := cluster.controller())[0] and now, "there is a controller")
        asked = {"zookeeper": cluster.zookeeper.connect} if cluster.zookeeper else {}
        with cluster.fault("controller", "ControllerSuspendFaultSpec", **asked) as children:
            assert [child["nodeNames"] for child in children] == [[first]]
            (found,) = cluster.client.task("controller")["status"]["found"]
            assert found["nodes"] == [first]
            assert ("/controller of ZooKeeper" if cluster.zookeeper else "DescribeQuorum") in found["how"]

            def another() -> tuple[str, int] | None:
                now = cluster.controller(without=first)
                return now if now[0] not in ("", first) else None

            assert until(another, "another controller")[1] > epoch
            cluster.await_acknowledged()


def test_a_controller_that_is_followed_is_suspended_where_it_moves_to(cluster: Cluster) -> None:
    with cluster.losing_nothing():
        asked = {"zookeeper": cluster.zookeeper.connect} if cluster.zookeeper else {}
        with cluster.fault("followed", "ControllerSuspendFaultSpec", follow=True, **asked) as children:

            def suspended() -> list[str]:
                found = cluster.client.children("followed").values()
                return [name for child in found for name in child["spec"]["nodeNames"]]

            until(lambda: len(suspended()) == 2, "the next controller is suspended too")
            assert suspended()[0] == children[0]["nodeNames"][0]
            assert len(set(suspended())) == 2
        until(lambda: cluster.controller()[0], "there is a controller again")


def test_followers_that_cannot_fetch_fall_out_of_sync(cluster: Cluster) -> None:
    with cluster.losing_nothing(), cluster.fault("isr", "IsrShrinkFaultSpec", topic=TOPIC, keep=2):
        leader = until(cluster.leader, "there is a leader")
        until(lambda: len(cluster.kafka.in_sync(TOPIC, without=[leader])) == 2, "one follower is out of sync")
        cluster.await_acknowledged()


def test_a_leader_cut_off_from_its_followers_is_left_alone_in_sync(cluster: Cluster) -> None:
    with cluster.losing_nothing():
        leader = cluster.leader()
        with cluster.fault("isolated", "PartitionLeaderFaultSpec", topic=TOPIC, action="isolate"):
            # With ZooKeeper a controller among the followers cannot tell the leader what it has decided.
            until(lambda: cluster.kafka.in_sync(TOPIC, without=[leader]) == [leader], "no follower is in sync")


def test_a_suspended_leader_is_replaced(cluster: Cluster) -> None:
    with cluster.losing_nothing():
        first = until(cluster.leader, "there is a leader")
        with cluster.fault("suspended", "PartitionLeaderFaultSpec", topic=TOPIC, action="suspend"):
            until(lambda: cluster.leader(without=first) not in (None, first), "another leader")
            cluster.await_acknowledged()


def test_a_killed_leader_is_replaced_and_runs_again_at_the_end(cluster: Cluster) -> None:
    with cluster.losing_nothing():
        first = until(cluster.leader, "there is a leader")
        with cluster.fault("killed", "PartitionLeaderFaultSpec", topic=TOPIC, action="kill"):
            until(lambda: cluster.leader(without=first) not in (None, first), "another leader")
            assert cluster.processes(first) == []
            cluster.await_acknowledged()
        until(lambda: cluster.processes(first), "the broker runs again")


@pytest.mark.skipif(not KIBOSH, reason="there is no Kibosh in this Python")
def test_a_leader_that_cannot_read_its_disk_is_left_alone_in_sync(cluster: Cluster) -> None:
    with cluster.losing_nothing():
        leader = until(cluster.leader, "there is a leader")
        where = {"mountPath": DISK, "prefix": f"/{TOPIC}-0/{'0' * 20}.log"}
        with cluster.fault("disk", "PartitionLeaderFaultSpec", topic=TOPIC, action="disk", **where) as children:
            assert [child["nodeNames"] for child in children] == [[leader]]
            until(lambda: cluster.kafka.in_sync(TOPIC) == [leader], "no follower is in sync")


def test_a_broker_killed_by_its_id_leaves_the_cluster_and_comes_back(cluster: Cluster) -> None:
    number = cluster.kafka.brokers["n2"]
    with (
        cluster.losing_nothing(),
        cluster.fault("by-id", "BrokerKillFaultSpec", brokerIds=[number], signal="TERM") as children,
    ):
        assert [child["nodeNames"] for child in children] == [["n2"]]
        until(lambda: cluster.registered(without="n2") == ["n1", "n3"], "n2 is gone")
        cluster.await_acknowledged()


def test_brokers_are_restarted_one_after_the_other(cluster: Cluster) -> None:
    before = {name: cluster.processes(name) for name in BROKERS}
    names = BROKERS
    fields: dict[str, Any] = {"downMs": 500}
    if cluster.zookeeper:  # it does not let a broker in again before the session of the one that was killed is over
        names = ["n3", "n1"]
        fields = {"downMs": 7000, "nodeNames": names}
    with cluster.losing_nothing():
        spec = {"class": "RollingRestartFaultSpec", "durationMs": FAULT_MS, **fields}
        cluster.client.create_task("rolling", spec)
        task = cluster.client.wait_for_done("rolling", deadline_s=3 * PATIENCE_S)
        assert not task.get("error"), task
    made = cluster.client.children("rolling")
    children = [made[f"rolling/{number}"] for number in range(len(names))]
    assert [child["spec"]["nodeNames"] for child in children] == [[name] for name in names]
    assert all(one["doneMs"] <= other["startedMs"] for one, other in pairwise(children))
    now = {name: cluster.processes(name) for name in BROKERS}
    assert all(len(pids) == 1 for pids in now.values())
    assert [name for name in BROKERS if now[name] != before[name]] == sorted(names)


def coordinator_is_replaced(cluster: Cluster, **whose: str) -> None:
    def coordinator(names: list[str]) -> str:
        found = resolve(cluster.lab, "coordinator", bootstrapServers=cluster.servers(names), **whose)
        return str(next(iter(found.get("nodes", [])), ""))

    with cluster.losing_nothing():
        first = until(lambda: coordinator(BROKERS), "there is a coordinator")
        with cluster.fault("coordinator", "CoordinatorFaultSpec", **whose) as children:
            assert [child["nodeNames"] for child in children] == [[first]]
            until(lambda: coordinator(cluster.but(first)) not in ("", first), "another coordinator")
            cluster.await_acknowledged()


def test_another_broker_coordinates_a_group_while_its_coordinator_is_suspended(cluster: Cluster) -> None:
    coordinator_is_replaced(cluster, group="billing")


def test_another_broker_coordinates_a_transaction_while_its_coordinator_is_suspended(cluster: Cluster) -> None:
    coordinator_is_replaced(cluster, transactionalId="payments")


def test_a_broker_cut_off_from_zookeeper_or_the_controllers_leaves_the_cluster_and_comes_back(
    cluster: Cluster,
) -> None:
    with cluster.losing_nothing():
        controller, epoch = until(lambda: (now := cluster.controller())[0] and now, "there is a controller")
        cut = controller if cluster.zookeeper else cluster.but(controller)[0]
        name, fields = "ControllerPartitionFaultSpec", {"nodeNames": [cut]}
        if cluster.zookeeper:
            name, fields = "ZooKeeperPartitionFaultSpec", {**fields, "zookeeperNodes": ["zk1"]}
        with cluster.fault("cut", name, **fields):
            until(lambda: cut not in cluster.registered(without=cut), "the broker is gone")
            if cluster.zookeeper:  # which has expired the controller's session
                until(lambda: cluster.controller()[0] in cluster.but(cut), "another controller")
                assert cluster.controller()[1] > epoch
            cluster.await_acknowledged()
        until(lambda: cluster.registered(without=cut) == BROKERS, "the broker is back")


@pytest.mark.parametrize("asked_at", ["start", "creation"])
def test_a_cluster_that_cannot_be_asked_is_an_error_and_no_fault(cluster: Cluster, asked_at: str) -> None:
    asked: dict[str, Any] = {"bootstrapServers": "n1:1,n2:1"}
    if cluster.zookeeper:
        asked = {"zookeeper": "zk1:1"}
    spec = {"class": "ControllerSuspendFaultSpec", "durationMs": FAULT_MS, "askAt": asked_at, **asked}
    if asked_at == "creation":  # at its start it would be another hour until the cluster is asked
        now_ms = cluster.client.uptime()["nowMs"]
        cluster.client.create_task("later", {**spec, "askAt": "start", "startMs": now_ms + 3_600_000})
        spec["startMs"] = now_ms + 3_600_000
    cluster.client.create_task("nobody", spec)
    task = cluster.client.wait_for_done("nobody", deadline_s=PATIENCE_S)
    assert ("ZooKeeper at zk1:1 does not answer" if cluster.zookeeper else "no broker answers") in task["error"]
    assert cluster.client.children("nobody") == {}
    if asked_at == "creation":
        assert cluster.client.task("later")["state"] == "PENDING"
    assert not cluster.client.faults()["faults"]
