"""What a spec would do to a node, shown before it does; and what each fault says of its nets and its probe."""

import pytest

from trogdor.platform.base import Fault, Scene
from trogdor.platform.linux import PLATFORM, faults
from trogdor.platform.preview import nets_of, preview, resource_of
from trogdor.spec import parse
from trogdor.topology import topology_of

TOPOLOGY = topology_of(
    {
        "nodes": {
            f"n{at}": {"hostname": f"192.0.2.{at}", "trogdor.agent.port": "8888"} for at in range(1, 4)
        }
    }
)  # fmt: skip
SCENE = Scene(TOPOLOGY.nodes["n1"], TOPOLOGY)


@pytest.mark.parametrize("fault", PLATFORM.faults.values(), ids=lambda fault: fault.spec.__name__)
def test_every_fault_says_what_undoes_it_and_what_checks_it(fault: Fault) -> None:
    assert fault.kinds
    assert fault.checked_by.endswith(".")
    for kind in fault.kinds:
        resource = resource_of(PLATFORM, kind)
        assert resource.kind == kind
        assert {"warden", "replay"} <= set(nets_of(resource))
        assert resource.undone_by


def test_a_partition_shows_its_claims_and_what_is_expected() -> None:
    shown = preview(
        PLATFORM, parse({"class": "NetworkPartitionFaultSpec", "partitions": [["n1"], ["n2", "n3"]]}), SCENE
    )
    assert [claim["want"]["addresses"] for claim in shown["claims"]] == [["192.0.2.2/32"], ["192.0.2.3/32"]]
    assert shown["claims"][0]["undoneBy"] == ["kernel", "warden", "replay"]
    assert shown["probe"] == ["no packets from n2 arrive at n1", "no packets from n3 arrive at n1"]
    assert shown["targets"] == ["n2 → n1", "n3 → n1"]
    assert shown["problem"] == ""


def test_what_is_seen_of_a_part_of_a_link() -> None:
    link = {"from": "n2", "to": "n1", "ports": ["2379"], "protocol": "tcp", "connections": "new"}
    scene = Scene(SCENE.node, TOPOLOGY, probe_ports={"n1": 9999})
    shown = preview(PLATFORM, parse({"class": "CutLinksFaultSpec", "links": [link]}), scene)
    assert shown["probe"] == ["no tcp new connections to ports 2379 from n2 arrive at n1"]


def test_what_is_lacking_is_told_with_those_faults_alone_that_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults.capabilities, "lacking", lambda: ["CAP_NET_ADMIN"])
    cut = parse({"class": "CutLinksFaultSpec", "links": [{"from": "n2", "to": "n1"}]})
    slow = parse({"class": "DegradedLinksFaultSpec", "links": [{"from": "n2", "to": "n1", "delayMs": 5}]})
    pause = parse({"class": "ProcessPauseFaultSpec", "nodeNames": ["n1"], "match": {"name": "no-such-program"}})
    lacks = [preview(PLATFORM, spec, SCENE)["lacks"] for spec in (cut, slow, pause)]
    assert [[*each] for each in lacks] == [["nft"], ["qdisc", "queue"], []]
    assert lacks[0]["nft"].startswith("CAP_NET_ADMIN is missing")


def test_a_pause_of_nothing_says_so() -> None:
    spec = parse({"class": "ProcessPauseFaultSpec", "nodeNames": ["n1"], "match": {"name": "no-such-program"}})
    shown = preview(PLATFORM, spec, SCENE)
    assert shown["claims"] == []
    assert shown["unverified"] == "no process matched"


def test_what_cannot_be_is_a_problem() -> None:
    spec = parse({"class": "ProcessPauseFaultSpec", "nodeNames": ["n1"], "match": {"pattern": "("}})
    assert "cannot look for the process" in preview(PLATFORM, spec, SCENE)["problem"]


def test_what_is_no_fault_claims_nothing() -> None:
    shown = preview(PLATFORM, parse({"class": "NoOpTaskSpec"}), SCENE)
    assert (shown["claims"], shown["problem"]) == ([], "")
