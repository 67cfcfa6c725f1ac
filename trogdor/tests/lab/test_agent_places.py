"""One agent serves several nodes: its own, and one whose network namespace is another process's."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from lab.agents import LINKS, MS, PORT, LabAgent, boot_ns, running_agents, until
from trogdor.lab import Lab
from trogdor.lab.node import NodeProcess

CUT = {"class": LINKS, "links": [{"from": "10.99.0.1", "to": "inner"}]}
SET_UP = """
ip link add outer type veth peer name eth0 netns $1
ip addr add 10.99.0.1/24 dev outer
ip link set outer up
nsenter -t $1 -n sh -c 'ip addr add 10.99.0.2/24 dev eth0; ip link set eth0 up; ip link set lo up'
"""


@pytest.fixture
def inner(lab: Lab) -> Iterator[NodeProcess]:
    """A process in a network namespace of its own inside n4, reached from n4 by a veth."""
    with closing(lab.node("n4").popen(["unshare", "--net", "sleep", "3600"])) as process:
        until(lambda: (process.pid, "sleep 3600") in [(p.pid, p.command) for p in lab.node("n4").processes()])
        lab.node("n4").exec(["sh", "-ec", SET_UP, "sh", str(process.pid)], check=True)
        yield process
        process.kill()
        process.wait(60)


@pytest.fixture
def agent(lab: Lab, inner: NodeProcess) -> Iterator[LabAgent]:
    place = {"hostname": "10.99.0.2", "place": {"pid": inner.pid}, "trogdor.agent.port": PORT}
    with running_agents(lab, ["n4"], further={"inner": place}) as agents:
        yield agents["n4"]


def reaches(lab: Lab) -> bool:
    """Whether a TCP segment gets from n4 into the namespace: a closed port answers, a cut link does not."""
    with closing(lab.node("n4").socket()) as prober:
        prober.settimeout(1)
        try:
            prober.connect(("10.99.0.2", 9))
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
        return True


def test_a_fault_on_an_inner_node_is_there_and_nowhere_else(lab: Lab, agent: LabAgent, inner: NodeProcess) -> None:
    assert agent.send("GET", "/agent/features")[1]["places"] == ["n4", "inner"]
    agent.arm(1, CUT, boot_ns() + 300 * MS, 60_000, nodeName="inner")
    agent.when(1, lambda shown: shown["state"] == "RUNNING")
    assert not reaches(lab)
    assert [fault["node"] for fault in agent.send("GET", "/agent/faults")[1]["faults"]] == ["inner"]
    agent.stop(1)
    assert "error" not in agent.done(1)
    assert reaches(lab)
    assert set(agent.send("GET", "/agent/features")[1]["probePorts"]) == {"n4", "inner"}


def test_a_place_that_vanishes_is_no_failed_heal(lab: Lab, agent: LabAgent, inner: NodeProcess) -> None:
    agent.arm(1, CUT, boot_ns() + 300 * MS, 60_000, nodeName="inner")
    agent.when(1, lambda shown: shown["state"] == "RUNNING")
    inner.kill()
    inner.wait(60)
    agent.stop(1)
    shown = agent.done(1)
    assert "error" not in shown, shown
    assert shown["status"]["undoneBy"] == "gone"
    assert f"process {inner.pid}, whose namespaces it was, has ended" in shown["status"]["notes"][0]


def test_a_fault_on_an_inner_node_is_undone_when_the_agent_is_killed(
    lab: Lab, agent: LabAgent, inner: NodeProcess
) -> None:
    agent.arm(1, CUT, boot_ns() + 300 * MS, 60_000, nodeName="inner")
    agent.when(1, lambda shown: shown["state"] == "RUNNING")
    assert not reaches(lab)
    agent.process.kill()
    until(lambda: reaches(lab))
