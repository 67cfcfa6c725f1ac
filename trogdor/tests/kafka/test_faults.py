"""Faults of Kafka, made through the coordinator, seen from outside on a real cluster of three brokers."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from trogdor.lab.lab import Lab
from trogdor.lab.recipes.kafka import Kafka
from trogdor.lab.recipes.kafka_ledger import Ledger

from .conftest import PATIENCE_S, resolve, until
from .faulting import fault

TOPIC = "kept"


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Lab, Kafka]]:
    config = {"min.insync.replicas": "2", "default.replication.factor": "3"}
    with Lab(nodes=3) as lab, Kafka(lab, config=config) as kafka:
        lab.start_daemons()
        until(lambda: all(node["up"] for node in lab.client().nodes().values()), "every agent is up")
        Ledger(lab.coordinator, kafka.bootstrap, TOPIC).create()
        yield lab, kafka


def controller(lab: Lab, kafka: Kafka, *, without: str = "") -> dict[str, Any]:
    servers = ",".join(server for server in kafka.bootstrap.split(",") if not without or not server.startswith(without))
    return resolve(lab, "controller", bootstrapServers=servers)


def partition(lab: Lab) -> dict[str, Any]:
    return {role: resolve(lab, role, topic=TOPIC).get("nodes", []) for role in ("leader", "in-sync-followers")}


def brokers_processes(lab: Lab, name: str) -> list[int]:
    processes = lab.node(name).processes()
    return [each.pid for each in processes if each.command.split()[0].endswith("java") and each.state != "Z"]


def all_in_sync(lab: Lab) -> bool:
    found = partition(lab)
    return len(found["leader"]) == 1 and len(found["in-sync-followers"]) == 2


def test_a_suspended_controller_is_replaced_and_no_acknowledged_message_is_lost(cluster: tuple[Lab, Kafka]) -> None:
    lab, kafka = cluster
    until(lambda: all_in_sync(lab), "every replica is in sync")
    before = controller(lab, kafka)
    (first,) = before["nodes"]
    named = {"bootstrapServers": kafka.bootstrap}
    with (
        Ledger(lab.coordinator, kafka.bootstrap, TOPIC).running() as ledger,
        fault(lab, "controller", "ControllerSuspendFaultSpec", **named) as children,
    ):
        assert [child["nodeNames"] for child in children] == [[first]]
        status = lab.client().task("controller")["status"]
        assert status["found"][0]["nodes"] == [first]
        assert "DescribeQuorum" in status["found"][0]["how"]
        after = until(
            lambda: (now := controller(lab, kafka, without=first)).get("nodes") not in (None, [first]) and now,
            "another controller",
        )
        assert after["epoch"] > before["epoch"]
        acknowledged = len(ledger.acknowledged())
        until(lambda: len(ledger.acknowledged()) > acknowledged + 100, "messages are acknowledged again")
    until(lambda: all_in_sync(lab), "every replica is in sync again")
    assert ledger.acknowledged()
    assert ledger.lost() == []


def test_a_controller_that_is_followed_is_suspended_where_it_moves_to(cluster: tuple[Lab, Kafka]) -> None:
    lab, kafka = cluster
    until(lambda: all_in_sync(lab), "every replica is in sync")
    named = {"bootstrapServers": kafka.bootstrap, "follow": True}
    with fault(lab, "followed", "ControllerSuspendFaultSpec", **named) as children:

        def suspended() -> list[str]:
            found = lab.client().children("followed").values()
            return [name for child in found for name in child["spec"]["nodeNames"]]

        until(lambda: len(suspended()) == 2, "the next controller is suspended too")
        assert suspended()[0] == children[0]["nodeNames"][0]
        assert len(set(suspended())) == 2
    until(lambda: controller(lab, kafka).get("nodes"), "there is a controller again")
    until(lambda: all_in_sync(lab), "every replica is in sync again")


def test_followers_cut_off_from_the_leader_fall_out_of_sync_and_come_back(cluster: tuple[Lab, Kafka]) -> None:
    lab, kafka = cluster
    until(lambda: all_in_sync(lab), "every replica is in sync")
    shrink = fault(lab, "isr", "IsrShrinkFaultSpec", topic=TOPIC, keep=2)
    with (
        Ledger(lab.coordinator, kafka.bootstrap, TOPIC).running(),
        shrink,
    ):  # a follower that has nothing to fetch stays in sync
        until(lambda: len(partition(lab)["in-sync-followers"]) == 1, "one follower is out of sync")
    until(lambda: all_in_sync(lab), "every replica is in sync again")


def test_a_suspended_leader_is_replaced(cluster: tuple[Lab, Kafka]) -> None:
    lab, _ = cluster
    until(lambda: all_in_sync(lab), "every replica is in sync")
    (first,) = partition(lab)["leader"]
    with fault(lab, "leader", "PartitionLeaderFaultSpec", topic=TOPIC, action="suspend"):
        until(lambda: partition(lab)["leader"] not in ([], [first]), "another leader")
    until(lambda: all_in_sync(lab), "every replica is in sync again")


def test_a_killed_leader_is_replaced_runs_again_at_the_end_and_no_acknowledged_message_is_lost(
    cluster: tuple[Lab, Kafka],
) -> None:
    lab, kafka = cluster
    until(lambda: all_in_sync(lab), "every replica is in sync")
    (first,) = partition(lab)["leader"]
    with Ledger(lab.coordinator, kafka.bootstrap, TOPIC).running() as ledger:
        with fault(lab, "killed", "PartitionLeaderFaultSpec", topic=TOPIC, action="kill"):
            until(lambda: partition(lab)["leader"] not in ([], [first]), "another leader")
            assert brokers_processes(lab, first) == []
        until(lambda: brokers_processes(lab, first), "the broker runs again")
        until(lambda: all_in_sync(lab), "every replica is in sync again")
    assert ledger.acknowledged()
    assert ledger.lost() == []


def test_a_broker_killed_by_its_id_leaves_the_cluster_and_comes_back(cluster: tuple[Lab, Kafka]) -> None:
    lab, kafka = cluster
    until(lambda: all_in_sync(lab), "every replica is in sync")
    others = ",".join(server for server in kafka.bootstrap.split(",") if not server.startswith("n2"))
    with fault(lab, "by-id", "BrokerKillFaultSpec", brokerIds=[kafka.brokers["n2"]], signal="TERM") as children:
        assert [child["nodeNames"] for child in children] == [["n2"]]
        until(lambda: resolve(lab, "brokers", bootstrapServers=others).get("nodes") == ["n1", "n3"], "n2 is gone")
    until(lambda: all_in_sync(lab), "every replica is in sync again")


def test_brokers_are_restarted_one_after_the_other_and_no_acknowledged_message_is_lost(
    cluster: tuple[Lab, Kafka],
) -> None:
    lab, kafka = cluster
    until(lambda: all_in_sync(lab), "every replica is in sync")
    before = {name: brokers_processes(lab, name) for name in kafka.brokers}
    client = lab.client()
    with Ledger(lab.coordinator, kafka.bootstrap, TOPIC).running() as ledger:
        client.create_task("rolling", {"class": "RollingRestartFaultSpec", "durationMs": 600_000, "downMs": 500})
        task = client.wait_for_done("rolling", deadline_s=2 * PATIENCE_S)
        assert not task.get("error"), task
    children = [client.children("rolling")[f"rolling/{number}"] for number in range(3)]
    assert [child["spec"]["nodeNames"] for child in children] == [["n1"], ["n2"], ["n3"]]
    assert all(one["doneMs"] <= other["startedMs"] for one, other in pairwise(children))
    assert all(len(now := brokers_processes(lab, name)) == 1 and now != before[name] for name in kafka.brokers)
    assert all_in_sync(lab)
    assert ledger.acknowledged()
    assert ledger.lost() == []


def test_a_leader_cut_off_from_its_followers_is_left_alone_in_sync(cluster: tuple[Lab, Kafka]) -> None:
    lab, kafka = cluster
    until(lambda: all_in_sync(lab), "every replica is in sync")
    isolated = fault(lab, "isolated", "PartitionLeaderFaultSpec", topic=TOPIC, action="isolate")
    with Ledger(lab.coordinator, kafka.bootstrap, TOPIC).running(), isolated:
        until(lambda: partition(lab)["in-sync-followers"] == [], "no follower is in sync")
    until(lambda: all_in_sync(lab), "every replica is in sync again")


@pytest.mark.parametrize("whose", [{"group": "billing"}, {"transactionalId": "payments"}])
def test_another_broker_coordinates_while_the_coordinator_is_suspended(
    cluster: tuple[Lab, Kafka], whose: dict[str, str]
) -> None:
    lab, kafka = cluster

    def coordinator(servers: str) -> str:
        return str(next(iter(resolve(lab, "coordinator", bootstrapServers=servers, **whose).get("nodes", [])), ""))

    first = until(lambda: coordinator(kafka.bootstrap), "there is a coordinator")
    others = ",".join(server for server in kafka.bootstrap.split(",") if not server.startswith(first))
    with fault(lab, f"coordinator-{first}-{whose}", "CoordinatorSuspendFaultSpec", **whose) as children:
        assert [child["nodeNames"] for child in children] == [[first]]
        until(lambda: coordinator(others) not in ("", first), "another coordinator")
    until(lambda: all_in_sync(lab), "every replica is in sync again")


def test_a_broker_cut_off_from_the_controllers_is_fenced_and_comes_back(cluster: tuple[Lab, Kafka]) -> None:
    lab, kafka = cluster
    until(lambda: all_in_sync(lab), "every replica is in sync")
    leading = controller(lab, kafka)["nodes"][0]
    broker = next(name for name in kafka.brokers if name != leading)
    others = ",".join(f"{name}:9092" for name in kafka.brokers if name != broker)

    def brokers() -> list[str]:
        return sorted(resolve(lab, "brokers", bootstrapServers=others).get("nodes", []))

    with fault(lab, "cut", "ControllerPartitionFaultSpec", nodeNames=[broker]):
        until(lambda: broker not in brokers(), "the broker is fenced")
    until(lambda: brokers() == sorted(kafka.brokers), "the broker is back")


def test_a_cluster_that_cannot_be_asked_is_an_error_and_no_fault(cluster: tuple[Lab, Kafka]) -> None:
    lab, _ = cluster
    client = lab.client()
    client.create_task(
        "nobody", {"class": "ControllerSuspendFaultSpec", "durationMs": 1000, "bootstrapServers": "n1:1,n2:1"}
    )
    task = until(lambda: (task := client.task("nobody"))["state"] == "DONE" and task, "the task is over")
    assert "no broker answers" in task["error"]
    assert client.children("nobody") == {}
