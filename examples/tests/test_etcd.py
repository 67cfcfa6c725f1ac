"""What etcd does when its leader is cut off: a real cluster on three nodes of this machine."""

import pytest

from trogdor.testing import recovers


@pytest.mark.lab(nodes=3, recipe="etcd")
def test_leader_cut_off(lab, fault):
    old = lab.etcd.leader()
    lab.etcd.put("k", "1")
    with fault.partition([old], lab.others(old)) as cut:  # enters once seen
        recovers(lambda: lab.etcd.leader(ask=lab.others(old)) not in (None, old), within="5s")
    recovers(lambda: lab.etcd.get("k", node=old) == "1", within="10s")
    assert cut.healed.late_ms < 1000


@pytest.mark.lab(nodes=3, recipe="etcd")
def test_follower_paused_and_back(lab, fault):
    follower = lab.others(lab.etcd.leader())[0]
    with fault.pause(follower, name="etcd"):
        lab.etcd.put("written", "while one was away", node=lab.etcd.leader(ask=lab.others(follower)))
    recovers(lambda: lab.etcd.get("written", node=follower) == "while one was away", within="10s")
