"""The recipe etcd: a real cluster, asked from inside its nodes."""

import pytest

from lab.waiting import wait_until
from trogdor.lab import Lab, LabError
from trogdor.lab.recipes.etcd import Etcd, EtcdError

pytestmark = pytest.mark.lab


def test_a_cluster_serves_and_elects_another_leader_when_the_first_is_cut_off() -> None:
    with Lab(nodes=3) as lab, Etcd(lab) as etcd:
        assert sorted(member["name"] for member in etcd.members()) == ["n1", "n2", "n3"]
        etcd.put("a/1", "one", node="n1")
        etcd.put("a/2", "zwölf", node="n2")
        etcd.put("b/1", "", node="n3")
        assert [etcd.get("a/2", node=name) for name in lab.nodes] == ["zwölf"] * 3
        assert (etcd.get("b/1"), etcd.get("c/1"), etcd.keys("a/")) == ("", None, ["a/1", "a/2"])

        first = etcd.leader()
        assert first is not None
        others = [name for name in lab.nodes if name != first]
        ways = [f"{lab.nodes[name].address}/32" for name in others]
        for way in ways:
            lab.nodes[first].exec(["ip", "route", "add", "blackhole", way], check=True)
        wait_until(lambda: etcd.leader(ask=others[0]) in others)
        etcd.put("a/3", "by the majority", node=others[0], timeout_s=30)
        with pytest.raises(EtcdError, match=first):
            etcd.put("a/4", "by the minority", node=first, timeout_s=0.5)
        for way in ways:
            lab.nodes[first].exec(["ip", "route", "del", "blackhole", way], check=True)
        wait_until(lambda: etcd.leader(ask=first) == etcd.leader(ask=others[0]))
        assert etcd.get("a/3", node=first, timeout_s=30) == "by the majority"
    assert all(process.poll() is not None for process in etcd.processes.values())


def test_a_member_that_cannot_start_is_told_with_its_log(lab: Lab) -> None:
    with lab.nodes["n1"].socket() as taken:
        taken.bind(("0.0.0.0", 2379))
        taken.listen()
        with pytest.raises(LabError, match=r"(?s)etcd on n1 ended with 1:.*address already in use"):
            Etcd(lab, nodes=["n1"])
    assert lab.nodes["n1"].processes() == []


def test_a_missing_binary_is_told_with_the_way_to_get_one(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETCD_BIN", "/no/such/etcd")
    with pytest.raises(LabError, match="apt-get install etcd-server"):
        Etcd(lab)
