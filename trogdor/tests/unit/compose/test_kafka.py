"""Faults of Kafka become general faults of the nodes that the cluster names."""

from typing import Any

import pytest

from trogdor.compose import kafka
from trogdor.compose.expand import (
    FOLLOW_MS,
    expand,
    first_parts,
    follow_ms,
    further,
    is_asked_at_creation,
    is_complete,
    questions,
    unfinished,
)
from trogdor.compose.part import Course, Made, Part
from trogdor.compose.question import Answer
from trogdor.spec import Spec, SpecError, parse
from trogdor.spec.kafka import KafkaFaultSpec, RollingRestartFaultSpec
from trogdor.spec.network import CutLinksFaultSpec
from trogdor.topology import Topology, topology_of

NODES = ("n1", "n2", "n3", "zk1")
TOPOLOGY: Topology = topology_of({"nodes": {name: {"trogdor.agent.port": 8888} for name in NODES}})


def made(name: str, answers: list[Answer], **fields: Any) -> list[dict[str, Any]]:
    spec = parse({"class": name, "startMs": 7, "durationMs": 9, **fields})
    spec.check(TOPOLOGY)
    asked = questions(spec, TOPOLOGY)
    assert len(asked) == len(answers)
    parts = expand(spec, TOPOLOGY, answers)
    assert {(part.at_ms, part.duration_ms) for part in parts} == {(0, 9)}
    return [part.spec(7).to_json() for part in parts]


def links(children: list[dict[str, Any]]) -> set[str]:
    (child,) = children
    spec = parse(child)
    assert isinstance(spec, CutLinksFaultSpec)
    return {f"{link.from_}>{link.to}:{','.join(link.ports)}" for link in spec.links}


def test_a_suspended_controller_is_a_pause_of_the_broker_on_the_node_found() -> None:
    children = made("ControllerSuspendFaultSpec", [Answer(("n2",))], bootstrapServers="n1:9092")
    assert [(child["class"], child["nodeNames"], child["match"]) for child in children] == [
        ("trogdor.fault.ProcessPauseFaultSpec", ["n2"], {"javaMain": "kafka.Kafka"})
    ]


@pytest.mark.parametrize(("fields", "arguments"), [({}, {}), ({"zookeeper": "zk1:2181"}, {"zookeeper": "zk1:2181"})])
def test_the_controller_is_asked_for_where_it_is_known(fields: dict[str, str], arguments: dict[str, str]) -> None:
    spec = parse({"class": "ControllerSuspendFaultSpec", "bootstrapServers": "n1:9092", **fields})
    (question,) = questions(spec, TOPOLOGY)
    assert (question.resolve, question.role) == ("kafka", "controller")
    assert question.options == {"bootstrapServers": "n1:9092", **arguments}


def test_following_asks_again_while_the_fault_lasts() -> None:
    assert follow_ms(parse({"class": "ControllerSuspendFaultSpec"})) == 0
    assert follow_ms(parse({"class": "ControllerSuspendFaultSpec", "follow": True})) == FOLLOW_MS


def test_the_cluster_is_asked_just_before_the_start_unless_told_to_be_asked_at_once() -> None:
    assert not is_asked_at_creation(parse({"class": "ControllerSuspendFaultSpec"}))
    assert is_asked_at_creation(parse({"class": "ControllerSuspendFaultSpec", "askAt": "creation"}))


def test_brokers_cut_off_from_zookeeper_lose_nothing_else() -> None:
    fields = {"nodeNames": ["n1", "n2"], "zookeeperNodes": ["zk1"]}
    both = links(made("ZooKeeperPartitionFaultSpec", [], **fields))
    assert both == {"n1>zk1:2181", "n2>zk1:2181", "zk1>n1:", "zk1>n2:"}
    assert links(made("ZooKeeperPartitionFaultSpec", [], **fields, direction="to")) == {"n1>zk1:2181", "n2>zk1:2181"}
    assert links(made("ZooKeeperPartitionFaultSpec", [], **fields, direction="from")) == {"zk1>n1:", "zk1>n2:"}


def test_a_broker_that_is_a_controller_is_cut_off_from_the_others_port_alone() -> None:
    cut = links(made("ControllerPartitionFaultSpec", [Answer(("n1", "n2", "n3"))], nodeNames=["n1"]))
    assert cut == {"n1>n2:9093", "n1>n3:9093"}
    alone = links(made("ControllerPartitionFaultSpec", [Answer(("n1", "n2")), Answer(("n1", "n2"))]))
    assert alone == {"n1>n2:9093", "n2>n1:9093"}


def test_an_unknown_node_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match="n9"):
        made("ControllerPartitionFaultSpec", [Answer(("n1",))], nodeNames=["n9"])


def test_a_partitions_leader_is_suspended_isolated_or_loses_its_disk() -> None:
    leader, followers = Answer(("n1",)), Answer(("n2", "n3"))
    suspended = made("PartitionLeaderFaultSpec", [leader], topic="t")
    assert suspended[0]["nodeNames"] == ["n1"]
    isolated = made("PartitionLeaderFaultSpec", [leader, followers], topic="t", action="isolate")
    assert links(isolated) == {"n2>n1:9092", "n3>n1:9092"}
    (disk,) = made("PartitionLeaderFaultSpec", [leader], topic="t", action="disk", mountPath="/mnt/kafka")
    assert (disk["class"].rpartition(".")[2], disk["mountPath"]) == ("FilesUnreadableFaultSpec", "/mnt/kafka")
    with pytest.raises(SpecError, match="mountPath"):
        made("PartitionLeaderFaultSpec", [leader], topic="t", action="disk")


@pytest.mark.parametrize(("keep", "cut"), [(1, {"n2>n1:9092", "n3>n1:9092"}), (2, {"n3>n1:9092"})])
def test_so_many_replicas_stay_in_sync(keep: int, cut: set[str]) -> None:
    answers = [Answer(("n1",)), Answer(("n3", "n2"))]
    assert links(made("IsrShrinkFaultSpec", answers, topic="t", keep=keep)) == cut


def test_a_fault_that_would_do_nothing_is_refused() -> None:
    with pytest.raises(SpecError, match="nothing to do"):
        made("IsrShrinkFaultSpec", [Answer(("n1",)), Answer((), "leader 1 alone")], topic="t", keep=3)


@pytest.mark.parametrize("fields", [{}, {"group": "g", "transactionalId": "t"}])
def test_a_coordinator_is_one_of_a_group_or_of_a_transaction(fields: dict[str, str]) -> None:
    with pytest.raises(SpecError, match="one of them"):
        made("CoordinatorFaultSpec", [Answer(("n1",))], **fields)


def test_the_status_says_whom_it_hit_and_how_that_was_found() -> None:
    (question,) = questions(parse({"class": "CoordinatorFaultSpec", "group": "g"}), TOPOLOGY)
    assert Answer(("n3",), "FindCoordinator at n1:9092", None, 12.5).to_json(question) == {
        "asked": "kafka (coordinator)", "nodes": ["n3"], "how": "FindCoordinator at n1:9092", "epoch": None,
        "tookMs": 12.5,
    }  # fmt: skip


def test_brokers_are_killed_by_node_or_by_id() -> None:
    (named,) = made("BrokerKillFaultSpec", [], nodeNames=["n1", "n2"], signal="TERM")
    assert (named["nodeNames"], named["signal"]) == (["n1", "n2"], "TERM")
    (asked,) = made("BrokerKillFaultSpec", [Answer(("n3",)), Answer(("n1",))], brokerIds=[3, 1])
    assert (asked["class"], asked["nodeNames"]) == ("trogdor.fault.ProcessKillFaultSpec", ["n3", "n1"])
    with pytest.raises(SpecError, match="one of them"):
        made("BrokerKillFaultSpec", [], nodeNames=["n1"], brokerIds=[1])


def rolling(**fields: Any) -> tuple[Spec, list[Answer]]:
    spec = parse({"class": "RollingRestartFaultSpec", "durationMs": 60_000, "downMs": 100, **fields})
    spec.check(TOPOLOGY)
    return spec, [Answer(("n1", "n2", "n3")) for _ in questions(spec, TOPOLOGY)]


def down(part: Part) -> str:
    (name,) = part.document["nodeNames"]
    return f"{name} at {part.at_ms} for {part.duration_ms}"


def test_brokers_are_restarted_at_an_interval() -> None:
    spec, answers = rolling(intervalMs=500)
    assert [down(part) for part in first_parts(spec, expand(spec, TOPOLOGY, answers))] == [
        "n1 at 0 for 100", "n2 at 500 for 100", "n3 at 1000 for 100",
    ]  # fmt: skip
    assert follow_ms(spec) == 0
    with pytest.raises(SpecError, match="more than durationMs has room for"):
        expand(rolling(intervalMs=30_000)[0], TOPOLOGY, answers)


def test_the_next_broker_is_restarted_once_all_are_in_sync_again() -> None:
    spec, answers = rolling()
    (first,) = first_parts(spec, expand(spec, TOPOLOGY, answers))
    behind, all_in_sync = [answers[0], Answer(("n2", "n3"))], answers

    def course(now: list[Answer], *is_over: bool) -> Course:
        return Course(answers, now, [Made(first.document, each) for each in is_over], 700)

    assert follow_ms(spec) == FOLLOW_MS
    assert further(spec, TOPOLOGY, course(all_in_sync, False)) == []
    assert further(spec, TOPOLOGY, course(behind, True)) == []
    assert [down(part) for part in further(spec, TOPOLOGY, course(all_in_sync, True))] == ["n2 at 700 for 100"]
    assert not is_complete(spec, course(behind, True, True, True))
    assert is_complete(spec, course(all_in_sync, True, True, True))
    assert unfinished(spec, course(behind, True, True)) == (
        "n2 was not in sync again within durationMs (60000); not restarted: n3"
    )


def test_every_fault_of_kafka_is_a_composite() -> None:
    def subclasses(of: type[Spec]) -> set[type[Spec]]:
        return {each for sub in of.__subclasses__() for each in (sub, *subclasses(sub))}

    named = {spec for spec in subclasses(KafkaFaultSpec) if spec.class_name}
    assert named == {*kafka.FAULTS, RollingRestartFaultSpec}
    assert all(spec.is_composite for spec in named)
