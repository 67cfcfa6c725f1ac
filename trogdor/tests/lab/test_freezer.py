"""Trees of processes stopped by their control group where it is theirs alone, and one by one where it is not."""

import subprocess
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from lab.agents import MS, LabAgent, boot_ns, running_agents, until
from lab.groups import Group, control_group, why_no_group
from trogdor.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.skipif(bool(why_no_group()), reason=why_no_group() or "-")]

TREE = {
    "class": "trogdor.fault.ProcessPauseFaultSpec",
    "nodeNames": ["n5"],
    "match": {"pattern": "^/bin/sh -c sleep 7200"},
    "tree": True,
}
LONG_MS = 60_000


@pytest.fixture(scope="module")
def agent(lab: Lab) -> Iterator[LabAgent]:
    with running_agents(lab, ["n5"]) as agents:
        yield agents["n5"]


@pytest.fixture
def tree(lab: Lab, agent: LabAgent) -> Iterator[Group]:
    """A shell and its two children, alone in a group."""
    with (
        control_group() as group,
        closing(lab.node("n5").popen(["/bin/sh", "-c", "sleep 7200 & sleep 7200 & wait"])) as shell,
    ):
        until(lambda: len(sleepers(lab)) == 2)
        assert shell.host_pid is not None
        for pid in (shell.host_pid, *children(shell.host_pid)):
            group.add(pid)
        yield group
        agent.forget_all()
        shell.send_signal(9, group=True)
        shell.wait(60)


def children(pid: int) -> list[int]:
    shown = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True)
    return [int(line) for line in shown.stdout.split()]


def sleepers(lab: Lab) -> list[str]:
    return [each.state for each in lab.node("n5").processes() if each.command == "sleep 7200"]


def begun(agent: LabAgent, lasts_ms: int = LONG_MS) -> Any:
    agent.arm(1, TREE, boot_ns() + 300 * MS, lasts_ms)
    return agent.verdict(1)["status"]


def test_a_tree_with_a_control_group_of_its_own_is_frozen_as_one(agent: LabAgent, tree: Group) -> None:
    shown = begun(agent, 2000)
    assert (shown["verdict"], shown["via"], len(shown["targets"])) == ("seen", ["freezer"], 3)
    done = agent.done(1)
    assert "error" not in done
    assert (done["status"]["verdict"], done["status"]["undoneBy"]) == ("seen", "end")
    assert not tree.is_frozen


def test_a_group_with_somebody_else_in_it_is_left_alone(lab: Lab, agent: LabAgent, tree: Group) -> None:
    with closing(lab.node("n5").popen(["/bin/sleep", "86400"])) as other:
        assert other.host_pid is not None
        tree.add(other.host_pid)
        shown = begun(agent)
        assert (shown["verdict"], shown["via"]) == ("seen", ["process"])
        assert not tree.is_frozen
        assert sleepers(lab) == ["T", "T"]
        other.kill()
        other.wait(60)


def test_a_group_thawed_behind_our_back_is_found_out(agent: LabAgent, tree: Group) -> None:
    assert begun(agent)["verdict"] == "seen"
    tree.thaw()
    done = agent.done(1)
    assert "runs again" in done["error"]
    assert "thawed" in done["status"]["notes"][-1]


@pytest.mark.parametrize("how", ["kill", "hang"])
def test_a_frozen_group_goes_on_when_its_agent_dies_or_hangs(agent: LabAgent, tree: Group, how: str) -> None:
    assert begun(agent)["verdict"] == "seen"
    assert tree.is_frozen
    agent.process.send_signal(9 if how == "kill" else 19)
    until(lambda: not tree.is_frozen)
    assert agent.process.wait(60) == -9
    agent.start_again()


def test_a_group_that_was_frozen_before_stays_so(agent: LabAgent, tree: Group) -> None:
    (tree.directory / "cgroup.freeze").write_text("1")
    until(lambda: tree.is_frozen)
    begun(agent, 1000)
    agent.done(1)
    assert tree.is_frozen
