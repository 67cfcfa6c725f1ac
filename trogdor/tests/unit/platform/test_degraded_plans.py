"""The plans of slow links and degraded devices: what is claimed at which end, without touching one."""

from typing import Any

import pytest

from trogdor.claim.model import CannotInject, Term
from trogdor.claim.place import Place
from trogdor.platform.base import Plan, Scene
from trogdor.platform.linux import PLATFORM
from trogdor.platform.linux.addresses import Addresses
from trogdor.platform.linux.degraded import Device, Roads, device_facts
from trogdor.probe.expect import LinkCut, LinkLossy, LinkNarrow, LinkReordered, LinkSlow
from trogdor.spec import SpecError, parse
from trogdor.spec.network import DegradedNetworkFaultSpec
from trogdor.topology import topology_of

TERM = Term("task-7", 7, 1_000, 2_000)
AGENT = {"trogdor.agent.port": "8888"}
CLUSTER = topology_of(
    {
        "nodes": {
            "n1": {"hostname": "10.0.0.1", **AGENT},
            "n2": {"hostname": "10.0.0.2", "addresses": ["fd00::2"], **AGENT},
            "client": {"hostname": "10.0.0.9"},
        }
    }
)


def plan(document: dict[str, Any], node: str, facts: Any) -> Plan:
    spec = parse(document)
    scene = Scene(
        CLUSTER.nodes[node], CLUSTER, Place(), exempt=(("10.0.0.5", 8888),), probe_ports={"n1": 7001, "n2": 7002}
    )
    return PLATFORM.faults[type(spec)].plan(spec, scene, facts, TERM)


def slow(**link: Any) -> dict[str, Any]:
    return {"class": "DegradedLinksFaultSpec", "links": [{"from": "n1", "to": "n2", **link}]}


def links(document: dict[str, Any], node: str) -> Plan:
    of = {name: (each.hostname, *each.addresses) for name, each in CLUSTER.nodes.items()}
    devices = {address: "eth7" for addresses in of.values() for address in addresses}
    return plan(document, node, Roads(Addresses(of), devices))


def test_a_delay_is_held_where_the_link_arrives_and_only_there() -> None:
    document = slow(delayMs=50, jitterMs=5)
    assert links(document, "n1").claims == []
    (claim,) = links(document, "n2").claims
    assert (claim.kind, claim.want["sources"], claim.want["delayMs"]) == ("queue", ["10.0.0.1"], 50)
    assert claim.want["exempt"] == [["10.0.0.5", 8888]]
    assert links(document, "n2").expect == [LinkSlow("n1", "n2", 50.0, 5.0)]


def test_the_status_says_how_packets_are_made_to_arrive_twice() -> None:
    planned = links(slow(duplicatePercent=2.5), "n2")
    assert [claim.want["duplicatePercent"] for claim in planned.claims] == [2.5]
    assert planned.targets == ["n1 → n2: 2.5 % twice, by a raw socket over lo (packet queue)"]


def test_a_rate_is_limited_where_the_link_leaves_for_each_address_of_the_other_end() -> None:
    document = slow(rateKbit=500, protocol="tcp", ports=["9092"])
    assert links(document, "n2").claims == []
    planned = links(document, "n1")
    assert [(claim.key, claim.want["match"]["to"], claim.want["rateKbit"]) for claim in planned.claims] == [
        ("eth7", "10.0.0.2/32", 500),
        ("eth7", "fd00::2/128", 500),
    ]
    assert planned.unverified.startswith("rates are probed from 250 to 10000 kbit/s, of UDP")


def test_a_rate_of_everything_is_looked_for_where_it_is_limited() -> None:
    assert links(slow(rateKbit=500), "n1").expect == [LinkNarrow("n1", "n2", 500)]
    assert links(slow(rateKbit=500), "n2").expect == []
    assert links(slow(rateKbit=10_001), "n1").expect == []


@pytest.mark.parametrize(
    ("link", "lost", "twice"),
    [
        ({"lossPercent": 20}, 0.2, 0),
        ({"lossPercent": 20, "burst": 4}, 0.2 / 4 / 0.8, 0),
        ({"lossPercent": 20, "corruptPercent": 50, "protocol": "udp"}, 0.6, 0),
        ({"duplicatePercent": 3}, 0, 0.03),
    ],
)
def test_losses_damage_and_copies_are_expected_of_beacons(link: dict[str, Any], lost: float, twice: float) -> None:
    (expected,) = links(slow(**link), "n2").expect
    assert isinstance(expected, LinkLossy)
    assert (expected.lost, expected.twice) == (pytest.approx(lost), pytest.approx(twice))


def test_the_loss_of_everything_is_a_cut_of_any_protocol() -> None:
    assert links(slow(lossPercent=100, protocol="icmp"), "n2").expect == [LinkCut("n1", "n2", "icmp")]


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ({"delayMs": 50, "reorderPercent": 5}, LinkReordered("n1", "n2", 50.0, 0.0, 0.05)),
        ({"jitterMs": 10}, LinkReordered("n1", "n2", 0.0, 10.0, 0.0)),
        ({"delayMs": 50, "jitterMs": 10, "protocol": "tcp"}, LinkSlow("n1", "n2", 50.0, 10.0, "tcp")),
        ({"lossPercent": 50, "delayMs": 3, "protocol": "icmp"}, LinkLossy("n1", "n2", 0.5, 0.0, "icmp", 3.0)),
    ],
)
def test_what_a_probe_looks_for(link: dict[str, Any], expected: object) -> None:
    assert expected in links(slow(**link), "n2").expect


@pytest.mark.parametrize(
    ("link", "unseen"),
    [
        ({"delayMs": 50, "reorderPercent": 5}, []),
        ({"delayMs": 50, "jitterMs": 5}, ["jitter"]),
        ({"delayMs": 50, "jitterMs": 10, "reorderPercent": 5}, ["overtaking"]),
        ({"delayMs": 50, "reorderPercent": 95}, ["the delay"]),
        ({"delayMs": 50, "duplicatePercent": 5, "protocol": "tcp"}, ["copies"]),
    ],
)
def test_what_is_not_probed_beside_what_is_is_noted(link: dict[str, Any], unseen: list[str]) -> None:
    planned = links(slow(**link), "n2")
    assert (planned.unverified, planned.notes) == ("", [f"not probed: n1 → n2: {what}" for what in unseen])


@pytest.mark.parametrize("link", [{"jitterMs": 9}, {"jitterMs": 30, "protocol": "tcp"}])
def test_what_no_probe_can_tell_is_unverified(link: dict[str, Any]) -> None:
    assert links(slow(**link), "n2").unverified.startswith("not probed: ")


def test_the_probe_port_is_slowed_with_the_ports_that_were_named() -> None:
    (claim,) = links(slow(delayMs=50, protocol="tcp", ports=["9092"]), "n2").claims
    assert claim.want["ports"] == ["9092", "7002"]


def test_a_delay_from_an_end_without_an_agent_is_claimed_and_unverified() -> None:
    planned = links({"class": "DegradedLinksFaultSpec", "links": [{"from": "client", "to": "n2", "delayMs": 9}]}, "n2")
    assert len(planned.claims) == 1
    assert planned.unverified == "delays, losses and damage are probed between two agents of ours"


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ({}, "one of delayMs"),
        ({"delayMs": 5, "ports": ["80"]}, "ports need protocol"),
        ({"lossPercent": 5, "reorderPercent": 5}, "overtake only where delayMs"),
        ({"delayMs": 5, "from": "!n1"}, "! is not for slow links"),
    ],
)
def test_a_link_that_contradicts_itself_is_refused(link: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        parse(slow(**link)).check(CLUSTER)


@pytest.mark.parametrize(("end", "lacks"), [("client", "client has no agent"), ("n9", "n9 is no node")])
def test_an_end_that_must_act_and_cannot_is_named_with_those_that_can(end: str, lacks: str) -> None:
    spec = parse({"class": "DegradedLinksFaultSpec", "links": [{"from": end, "to": "n1", "rateKbit": 5}]})
    with pytest.raises(SpecError, match=f"{lacks}, .* one of these can: n1, n2"):
        spec.target_nodes(CLUSTER)


DEVICE = {
    "class": "DegradedNetworkFaultSpec",
    "nodeSpecs": {"n1": {"networkDevice": "eth0", "latencyMs": 50, "rateLimitKbit": 1000}},
}


def test_upstreams_latency_is_netem_on_what_the_device_sends_where_the_kernel_has_it() -> None:
    planned = plan(DEVICE, "n1", Device(netem=True, peers=["n2"]))
    assert [(claim.kind, claim.key, claim.want) for claim in planned.claims] == [
        ("qdisc", "eth0", {"match": None, "rateKbit": 1000}),
        ("qdisc", "eth0", {"match": None, "netem": "delay 50ms limit 100000"}),
    ]
    assert (planned.expect, planned.notes) == ([LinkNarrow("n1", "n2", 1000)], ["not probed: the delay"])


def test_upstreams_latency_is_a_packet_queue_on_what_the_device_receives_where_it_has_not() -> None:
    planned = plan(DEVICE, "n1", Device(netem=False, peers=["n2"]))
    assert [(claim.kind, claim.key) for claim in planned.claims] == [("qdisc", "eth0"), ("queue", "packets")]
    assert planned.targets == [
        "eth0: sends at most 1000 kbit/s (htb)",
        "eth0: 50 ms on what it receives (packet queue)",
    ]
    assert planned.expect == [LinkNarrow("n1", "n2", 1000), LinkSlow("n2", "n1", 50.0, 0.0)]
    assert (planned.unverified, planned.notes) == ("", [])


@pytest.mark.parametrize(
    ("facts", "wanted", "why"),
    [
        (Device(netem=True, peers=["n2"]), {"latencyMs": 5}, "not probed: the delay"),
        (Device(netem=False, peers=["n2"]), {"rateLimitKbit": 5}, "not probed: the rate"),
        (Device(netem=False), {"latencyMs": 5, "rateLimitKbit": 1000}, "not probed: the rate; not probed: the delay"),
    ],
)
def test_what_no_beacon_meets_is_unverified(facts: Device, wanted: dict[str, int], why: str) -> None:
    document = {"class": "DegradedNetworkFaultSpec", "nodeSpecs": {"n1": {"networkDevice": "eth0", **wanted}}}
    planned = plan(document, "n1", facts)
    assert (list(planned.expect), planned.unverified) == ([], why)


def test_a_node_without_a_device_is_refused() -> None:
    with pytest.raises(SpecError, match="networkDevice is needed"):
        plan({"class": "DegradedNetworkFaultSpec", "nodeSpecs": {"n1": {"latencyMs": 5}}}, "n1", Device(netem=False))


def test_a_device_that_is_not_there_is_told_with_those_that_are() -> None:
    spec = parse({**DEVICE, "nodeSpecs": {"n1": {"networkDevice": "eth0 -j ACCEPT", "latencyMs": 5}}})
    assert isinstance(spec, DegradedNetworkFaultSpec)
    with pytest.raises(CannotInject, match=r"no network device 'eth0 -j ACCEPT' here, but .*lo"):
        device_facts(spec, Scene(CLUSTER.nodes["n1"], CLUSTER))
