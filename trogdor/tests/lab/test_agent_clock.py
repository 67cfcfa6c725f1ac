"""An agent whose clock is another: instants are its own, by the offset that its answers tell."""

import time

import pytest

from lab.agents import LINKS, MS, boot_ns, peers, running_agents
from trogdor.lab import Lab

ONE_WAY = {"class": LINKS, "links": [{"from": "n2", "to": "n1"}]}
OFF_S = 3600


def has_time_namespaces(lab: Lab) -> bool:
    asked = ["unshare", "--time", "--boottime", str(OFF_S), "cat", "/proc/uptime"]
    told = lab.node("n1").exec(asked)
    return told.returncode == 0 and float(told.stdout.split()[0]) - boot_ns() / 1e9 > OFF_S / 2


def test_instants_are_the_agents_own_and_times_told_are_the_coordinators(lab: Lab) -> None:
    if not has_time_namespaces(lab):
        pytest.skip("this kernel has no time namespaces that exec enters (Linux 6.3)")
    wrapper = ["unshare", "--time", "--boottime", str(OFF_S)]
    with running_agents(lab, ["n1", "n2"], wrappers={"n1": wrapper}) as agents:
        agent = agents["n1"]
        sent_ns = boot_ns()
        _, answer = agent.send("POST", "/agent/lease", {"coordinator": "test", "sentNs": sent_ns})
        offset_ns = answer["bootNs"] - (sent_ns + boot_ns()) // 2
        assert offset_ns > (OFF_S - 60) * 10**9
        start_ns = boot_ns() + 1500 * MS
        asked_ms = (time.time_ns() - boot_ns() + start_ns) / MS
        wall_offset_ns = time.time_ns() - boot_ns() - offset_ns
        agent.arm(1, ONE_WAY, start_ns + offset_ns, 1000, wallOffsetNs=wall_offset_ns, peers=peers(agents))
        assert agent.worker(1)["state"] == "STARTING" or boot_ns() > start_ns
        shown = agent.done(1)
        status = shown["status"]
        assert "error" not in shown, shown
        assert (status["verdict"], status["undoneBy"]) == ("seen", "end")
        assert abs(status["askedStartMs"] - asked_ms) < 60_000
        assert status["askedStartMs"] <= status["seenStartMs"] < status["askedEndMs"] <= status["seenEndMs"]
