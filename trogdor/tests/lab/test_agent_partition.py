"""An agent alone, driven by raw HTTP: a partition is armed, fired, seen by real sockets and by the probe, and ended."""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from lab.agents import LINKS, MS, PARTITION, WITHOUT_LIBNFTABLES, LabAgent, boot_ns, peers, running_agents, until
from trogdor.lab import Lab

AHEAD_MS = 1500
"""How long before its instant a worker is armed; enough for a baseline on a busy machine."""
HALVES = {"class": PARTITION, "partitions": [["n1"], ["n2", "n3"]]}
ONE_WAY = {"class": LINKS, "links": [{"from": "n2", "to": "n1"}]}


@pytest.fixture(scope="module")
def all_agents(lab: Lab) -> Iterator[dict[str, LabAgent]]:
    with running_agents(lab, ["n1", "n2", "n3"]) as agents:
        yield agents


@pytest.fixture
def agents(all_agents: dict[str, LabAgent]) -> Iterator[dict[str, LabAgent]]:
    yield all_agents
    for agent in all_agents.values():
        agent.forget_all()


def arrives(lab: Lab, source: str, target: str, timeout_s: float = 0.3) -> bool:
    """Whether a packet of our own gets from one node to another, by a socket in each."""
    with closing(lab.node(target).socket(type=socket.SOCK_DGRAM)) as receiver:
        receiver.bind(("0.0.0.0", 0))
        receiver.settimeout(timeout_s)
        with closing(lab.node(source).socket(type=socket.SOCK_DGRAM)) as sender:
            sender.sendto(b"x", (lab.node(target).address, receiver.getsockname()[1]))
            try:
                return receiver.recv(1) == b"x"
            except TimeoutError:
                return False


def in_force(agent: LabAgent) -> list[Any]:
    found: list[Any] = agent.send("GET", "/agent/faults")[1]["faults"]
    return found


def test_a_partition_on_three_agents_is_seen_by_each_and_gone_after_its_end(
    lab: Lab, agents: dict[str, LabAgent]
) -> None:
    known, start_ns = peers(agents), boot_ns() + AHEAD_MS * MS
    for agent in agents.values():
        assert agent.arm(1, HALVES, start_ns, 3000, peers=known)["state"] == "STARTING"
    assert arrives(lab, "n1", "n2")
    assert arrives(lab, "n2", "n1")
    for agent in agents.values():
        assert agent.verdict(1)["status"]["verdict"] == "seen"
    if boot_ns() < start_ns + 2500 * MS:
        assert not arrives(lab, "n1", "n2")
        assert not arrives(lab, "n3", "n1")
        assert arrives(lab, "n2", "n3")
    for name, agent in agents.items():
        shown = agent.done(1)
        status = shown["status"]
        assert "error" not in shown, (name, shown)
        assert (status["verdict"], status["undoneBy"], status["via"]) == ("seen", "end", ["nft"])
        assert status["askedStartMs"] <= status["seenStartMs"] < status["askedEndMs"] <= status["seenEndMs"]
        assert in_force(agent) == []
    assert arrives(lab, "n1", "n2")
    assert arrives(lab, "n3", "n1")


def test_a_one_way_cut_is_seen_where_it_arrives_and_the_other_way_stays_open(
    lab: Lab, agents: dict[str, LabAgent]
) -> None:
    agents["n1"].arm(1, ONE_WAY, boot_ns() + AHEAD_MS * MS, 60_000, peers=peers(agents))
    assert agents["n1"].verdict(1)["status"]["verdict"] == "seen"
    assert not arrives(lab, "n2", "n1")
    assert arrives(lab, "n1", "n2")
    agents["n1"].stop(1)
    status = agents["n1"].done(1)["status"]
    assert (status["verdict"], status["undoneBy"]) == ("seen", "stop")
    assert status["seenEndMs"] is not None
    assert arrives(lab, "n2", "n1")


@pytest.mark.parametrize(
    ("link", "open_to_all"),
    [
        ({"protocol": "tcp", "ports": ["2379"]}, True),
        ({"protocol": "udp"}, False),
        ({"connections": "new"}, False),
        ({"protocol": "udp", "connections": "new"}, False),
    ],
    ids=["tcp-ports", "udp", "new", "udp-new"],
)
def test_a_limited_cut_is_seen_by_traffic_of_its_own_kind(
    lab: Lab, agents: dict[str, LabAgent], link: dict[str, Any], open_to_all: bool
) -> None:
    spec = {"class": LINKS, "links": [{"from": "n2", "to": "n1", **link}]}
    agents["n1"].arm(1, spec, boot_ns() + AHEAD_MS * MS, 60_000, peers=peers(agents))
    assert agents["n1"].verdict(1)["status"]["verdict"] == "seen"
    assert arrives(lab, "n2", "n1") == open_to_all
    agents["n1"].stop(1)
    shown = agents["n1"].done(1)
    assert "error" not in shown
    assert shown["status"]["seenEndMs"] is not None


def test_a_cut_that_another_fault_holds_too_is_seen_and_stays_until_the_last_ends(
    lab: Lab, agents: dict[str, LabAgent]
) -> None:
    agent, known = agents["n1"], peers(agents)
    agent.arm(1, ONE_WAY, boot_ns() + AHEAD_MS * MS, 60_000, peers=known)
    assert agent.verdict(1)["status"]["verdict"] == "seen"
    agent.arm(2, ONE_WAY, boot_ns() + AHEAD_MS * MS, 60_000, peers=known)
    assert agent.verdict(2)["status"]["verdict"] == "seen"
    agent.stop(1)
    assert "error" not in agent.done(1)
    assert not arrives(lab, "n2", "n1")
    agent.stop(2)
    assert "error" not in agent.done(2)
    assert arrives(lab, "n2", "n1")


def test_a_cut_without_a_peer_of_ours_is_unverified(lab: Lab, agents: dict[str, LabAgent]) -> None:
    agents["n1"].arm(1, ONE_WAY, boot_ns() + 100 * MS, 60_000)
    verdict = agents["n1"].verdict(1)["status"]["verdict"]
    assert verdict == "unverified: n2 → n1: n2 has no agent of ours to send beacons"
    assert not arrives(lab, "n2", "n1")
    agents["n1"].stop(1)


def test_an_armed_partition_whose_coordinator_fell_silent_never_cuts(lab: Lab, agents: dict[str, LabAgent]) -> None:
    agents["n1"].arm(1, ONE_WAY, boot_ns() + 600 * MS, 60_000, leaseNs=200 * MS, peers=peers(agents))
    shown = agents["n1"].done(1)
    assert (shown["error"], shown["startedMs"]) == ("lease expired", -1)
    assert in_force(agents["n1"]) == []
    assert arrives(lab, "n2", "n1")


@pytest.mark.parametrize("how", ["stop", "destroy"])
def test_stopped_or_destroyed_around_the_instant_nothing_is_left(
    lab: Lab, agents: dict[str, LabAgent], how: str
) -> None:
    agent = agents["n1"]
    for worker_id, off_ms in enumerate((-20, -5, -1, 0, 1, 5, 20), start=1):
        start_ns = boot_ns() + 300 * MS
        agent.arm(worker_id, ONE_WAY, start_ns, 60_000)
        time.sleep(max(0, start_ns + off_ms * MS - boot_ns()) / 1e9)
        if how == "stop":
            agent.stop(worker_id)
            assert "error" not in agent.done(worker_id)
        else:
            agent.send("DELETE", f"/agent/worker?workerId={worker_id}")
            until(lambda worker_id=worker_id: agent.worker(worker_id) is None)
        assert in_force(agent) == []
    assert arrives(lab, "n2", "n1")


def test_a_killed_agent_leaves_nothing_and_what_fired_is_not_fired_again(lab: Lab, agents: dict[str, LabAgent]) -> None:
    agent, start_ns = agents["n1"], boot_ns() + 300 * MS
    agent.arm(1, ONE_WAY, start_ns, 60_000)
    until(lambda: not arrives(lab, "n2", "n1", 0.1))
    agent.process.kill()
    until(lambda: arrives(lab, "n2", "n1"))
    agent.start_again()
    assert agent.worker(1) is None
    answer = agent.arm(1, ONE_WAY, start_ns, 60_000)
    assert answer["state"] == "DONE"
    shown = agent.worker(1)
    assert shown["error"].startswith("agent restarted; fault ended at 20")
    assert shown["startedMs"] == -1
    assert arrives(lab, "n2", "n1")


def test_a_hanging_agent_is_ended_and_its_partition_with_it(lab: Lab, agents: dict[str, LabAgent]) -> None:
    agent = agents["n1"]
    agent.arm(1, ONE_WAY, boot_ns() + 300 * MS, 60_000)
    until(lambda: not arrives(lab, "n2", "n1", 0.1))
    agent.process.send_signal(signal.SIGSTOP)
    until(lambda: arrives(lab, "n2", "n1"))
    assert agent.process.wait(60) == -signal.SIGKILL
    agent.start_again()
    assert in_force(agent) == []


def test_sigterm_ends_a_partition_before_the_agent(lab: Lab, agents: dict[str, LabAgent]) -> None:
    agent = agents["n1"]
    agent.arm(1, ONE_WAY, boot_ns() + 300 * MS, 60_000)
    agent.arm(2, ONE_WAY, boot_ns() + 3600 * 1000 * MS, 60_000)
    until(lambda: not arrives(lab, "n2", "n1", 0.1))
    agent.process.terminate()
    assert agent.process.wait(60) == 0
    assert arrives(lab, "n2", "n1")
    assert "SIGTERM: the agent ends every fault" in agent.log
    agent.start_again()


def test_without_libnftables_the_agent_says_so_and_has_no_partitions(lab: Lab) -> None:
    with running_agents(lab, ["n5"], wrappers={"n5": ("unshare", *WITHOUT_LIBNFTABLES)}) as agents:
        features = agents["n5"].send("GET", "/agent/features")[1]
    assert "install libnftables1" in features["missing"]["nft"]
    assert not {LINKS, PARTITION} & {*features["classes"]}
    assert "trogdor.fault.ProcessPauseFaultSpec" in features["classes"]
