"""Linux's plans: what is claimed on which node, without touching one."""

from pathlib import Path
from typing import Any

import pytest

from trogdor.claim.model import CannotInject, Term
from trogdor.claim.place import Place
from trogdor.claim.settle import Site
from trogdor.platform.base import Plan, Scene
from trogdor.platform.linux import PLATFORM
from trogdor.platform.linux.addresses import Addresses, look_up, own_addresses
from trogdor.platform.linux.cut import collapsed
from trogdor.platform.linux.process import Targets
from trogdor.platform.linux.processes import Process
from trogdor.probe.expect import LinkCut, ProcessStopped
from trogdor.spec import SpecError, parse
from trogdor.topology import Topology, topology_of

TERM = Term("task-7", 7, 1_000, 2_000)
AGENT = {"trogdor.agent.port": "8888"}
CLUSTER = topology_of(
    {
        "nodes": {
            "n1": {"hostname": "10.0.0.1", "addresses": ["fd00::1"], **AGENT},
            "n2": {"hostname": "10.0.0.2", **AGENT},
            "n3": {"hostname": "10.0.0.3", **AGENT},
            "client": {"hostname": "10.0.0.9"},
        }
    }
)
NAMES = {"db.example": ("192.0.2.7", "2001:db8::7")}


def plan(document: dict[str, Any], node: str, topology: Topology = CLUSTER, **scene: Any) -> Plan:
    spec = parse(document)
    fault = PLATFORM.faults[type(spec)]
    of = {name: (each.hostname, *each.addresses) for name, each in topology.nodes.items()} | NAMES
    facts = Addresses(of, frozenset({topology.nodes[node].hostname, "127.0.0.1", "::1"}))
    return fault.plan(spec, Scene(topology.nodes[node], topology, Place(), **scene), facts, TERM)


def links(*wanted: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"class": "CutLinksFaultSpec", "links": wanted, **fields}


def wants(planned: Plan) -> list[dict[str, Any]]:
    return [claim.want for claim in planned.claims]


def test_a_partition_is_cut_where_its_links_arrive() -> None:
    document = {"class": "NetworkPartitionFaultSpec", "partitions": [["n1"], ["n2", "n3"]]}
    at = {node: plan(document, node) for node in ("n1", "n2")}
    assert at["n1"].targets == ["n2 → n1", "n3 → n1"]
    assert at["n2"].targets == ["n1 → n2"]
    assert wants(at["n2"])[0]["addresses"] == ["10.0.0.1/32", "fd00::1/128"]
    assert at["n1"].expect == [LinkCut("n2", "n1"), LinkCut("n3", "n1")]
    assert not at["n1"].unverified


def test_planning_again_gives_the_same_claims() -> None:
    document = {"class": "NetworkPartitionFaultSpec", "partitions": [["n1"], ["n2", "n3"]]}
    assert plan(document, "n1").claims == plan(document, "n1").claims
    assert len({claim.id for claim in plan(document, "n1").claims}) == 2


def test_a_link_to_an_end_without_an_agent_is_cut_where_it_leaves_and_nobody_can_verify_it() -> None:
    planned = plan(links({"from": "n1", "to": "client"}), "n1")
    assert [(want["hook"], want["addresses"]) for want in wants(planned)] == [("out", ["10.0.0.9/32"])]
    assert planned.unverified == "one end of the link has no agent of ours"
    assert plan(links({"from": "client", "to": "n1"}), "n1").claims[0].want["hook"] == "in"


def test_a_node_that_is_no_end_of_a_link_claims_nothing() -> None:
    assert plan(links({"from": "n1", "to": "n2"}), "n3").claims == []
    assert plan(links({"from": "n1", "to": "n2"}), "n1").claims == []


def test_a_negated_end_is_everything_but_that_node_and_this_one() -> None:
    (want,) = wants(plan(links({"from": "!n2", "to": "n1"}), "n1"))
    kept = {"10.0.0.1", "10.0.0.2", "127.0.0.1", "224.0.0.1", "ff02::1"}
    for address in (*kept, "10.0.0.3", "8.8.8.8", "2001:db8::1"):
        covered = collapsed([*want["addresses"], address]) == collapsed(want["addresses"])
        assert covered == (address not in kept), address


def test_a_network_is_not_this_node_itself_and_a_name_is_all_its_addresses() -> None:
    (want,) = wants(plan(links({"from": "10.0.0.0/30", "to": "n1"}), "n1"))
    assert want["addresses"] == ["10.0.0.0/32", "10.0.0.2/31"]
    (want,) = wants(plan(links({"from": "n1", "to": "db.example"}), "n1"))
    assert want["addresses"] == ["192.0.2.7/32", "2001:db8::7/128"]


def test_an_address_that_a_name_gets_during_the_fault_is_one_more_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    document = links({"from": "n1", "to": "db.example"})
    before = {claim.id for claim in plan(document, "n1").claims}
    monkeypatch.setitem(NAMES, "db.example", ("192.0.2.8",))
    (new,) = plan(document, "n1").claims
    assert new.id not in before
    assert new.want["addresses"] == ["192.0.2.8/32"]


def test_the_probe_s_port_is_cut_beside_the_ports_asked_for() -> None:
    document = links({"from": "n2", "to": "n1", "ports": ["2379-2380", "2380-2390"], "protocol": "tcp"})
    planned = plan(document, "n1", probe_ports={"n1": 40000, "n2": 40001})
    assert wants(planned)[0]["ports"] == ["2379-2390", "40000"]
    assert planned.expect == [LinkCut("n2", "n1", "tcp", ("2379-2380", "2380-2390"))]
    assert plan(document, "n1").unverified == "no probe port to be cut beside the ports asked for"


def test_control_traffic_is_exempt_unless_it_is_to_be_cut() -> None:
    exempt = (("10.0.0.100", 8888),)
    link = {"from": "n2", "to": "n1"}
    assert wants(plan(links(link), "n1", exempt=exempt))[0]["exempt"] == [["10.0.0.100", 8888]]
    assert wants(plan(links(link, controlTraffic="cut"), "n1", exempt=exempt))[0]["exempt"] == []


def test_two_nodes_that_share_an_address_cannot_be_parted_unless_ports_tell_them_apart() -> None:
    shared = topology_of({"nodes": {"a": {"hostname": "127.0.0.1", **AGENT}, "b": {"hostname": "127.0.0.1", **AGENT}}})
    with pytest.raises(SpecError, match=r"Nodes a and b share the address 127\.0\.0\.1"):
        plan({"class": "NetworkPartitionFaultSpec", "partitions": [["a"], ["b"]]}, "a", shared)
    (want,) = wants(plan(links({"from": "a", "to": "b", "ports": ["9092"], "protocol": "tcp"}), "b", shared))
    assert (want["addresses"], want["ports"]) == (["127.0.0.1/32"], ["9092"])


def test_nodes_in_one_network_namespace_are_told_apart_by_their_own_addresses() -> None:
    machine = topology_of({"nodes": {f"n{at}": {"hostname": f"127.0.0.{at}", **AGENT} for at in (1, 2, 3)}})
    (want,) = wants(plan(links({"from": "n1", "to": "n2"}), "n2", machine))
    assert (want["addresses"], want["local"]) == (["127.0.0.1/32"], ["127.0.0.2"])
    assert wants(plan(links({"from": "n1", "to": "n2"}), "n2"))[0]["local"] == []


def test_a_claim_on_each_process_found() -> None:
    spec = parse({"class": "ProcessStopFaultSpec", "nodeNames": ["n1"], "javaProcessName": "kafka.Kafka"})
    fault = PLATFORM.faults[type(spec)]
    planned = fault.plan(
        spec, Scene(CLUSTER.nodes["n1"], CLUSTER, Place()), Targets([Process(17, 4711, 1, "S", "java")]), TERM
    )
    assert [(claim.kind, claim.key, claim.want) for claim in planned.claims] == [("process", "17@4711", "stopped")]
    assert planned.expect == [ProcessStopped(17, 4711)]
    assert [text.format(spec=spec, task_id="t") for text in fault.text] == [
        "stopped kafka.Kafka",
        "resumed kafka.Kafka",
    ]


def test_one_claim_on_the_control_group_that_holds_a_tree_alone() -> None:
    spec = parse({"class": "ProcessPauseFaultSpec", "nodeNames": ["n1"], "match": {"name": "etcd"}, "tree": True})
    tree = [Process(17, 4711, 1, "S", "etcd"), Process(18, 4712, 17, "S", "etcd")]
    planned = PLATFORM.faults[type(spec)].plan(
        spec, Scene(CLUSTER.nodes["n1"], CLUSTER, Place()), Targets(tree, "/cg/etcd@5"), TERM
    )
    assert [(each.kind, each.key, each.want) for each in planned.claims] == [("freezer", "/cg/etcd@5", "frozen")]
    assert planned.expect == [ProcessStopped(17, 4711, "/cg/etcd"), ProcessStopped(18, 4712, "/cg/etcd")]


def test_no_process_found_is_unverified_and_not_an_error() -> None:
    spec = parse({"class": "ProcessPauseFaultSpec", "nodeNames": ["n1"], "match": {"name": "etcd"}})
    fault = PLATFORM.faults[type(spec)]
    planned = fault.plan(spec, Scene(CLUSTER.nodes["n1"], CLUSTER, Place()), Targets([]), TERM)
    assert (planned.claims, planned.unverified) == ([], "no process matched")
    assert fault.text[0].format(spec=spec, task_id="t") == "stopped name etcd"


def test_a_name_without_an_address_says_whose_it_is() -> None:
    lost = topology_of({"nodes": {"n1": {"hostname": "no-such-host.invalid", **AGENT}}})
    with pytest.raises(CannotInject, match=r"node n1: no-such-host\.invalid has no address"):
        look_up(["n1"], lost, Place())


def test_this_machine_has_its_loopback_address() -> None:
    assert "127.0.0.1" in own_addresses(Place())


@pytest.mark.parametrize("kind", PLATFORM.kinds)
def test_every_kind_is_a_resource_that_says_what_undoes_it(kind: str, tmp_path: Path) -> None:
    resource = Site(tmp_path, "n1", PLATFORM.kinds, Place.here(), lambda: 0).resource(kind)
    assert resource.kind == kind
    assert resource.undone_by
    assert resource.nets
    resource.close()
