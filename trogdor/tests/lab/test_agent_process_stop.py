"""An agent alone stops real processes, sees that they stop, and lets them go on."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from lab.agents import MS, LabAgent, boot_ns, running_agents, until
from lab.waiting import state_of
from trogdor.lab import Lab
from trogdor.lab.node import NodeProcess

PAUSE = "trogdor.fault.ProcessPauseFaultSpec"
SLEEP = {"class": PAUSE, "nodeNames": ["n1"], "match": {"name": "sleep"}}


@pytest.fixture(scope="module")
def agent(lab: Lab) -> Iterator[LabAgent]:
    with running_agents(lab, ["n1"]) as agents:
        yield agents["n1"]


@pytest.fixture
def sleepers(lab: Lab, agent: LabAgent) -> Iterator[list[NodeProcess]]:
    with ExitStack() as stack:
        started = [stack.enter_context(closing(lab.node("n1").popen(["sleep", "3600"]))) for _ in range(2)]
        yield started
        for process in started:
            process.kill()
            process.wait(60)
    agent.forget_all()


def state(lab: Lab, process: NodeProcess) -> str:
    return state_of(lab.node("n1"), process)


def test_processes_are_stopped_seen_and_go_on(lab: Lab, agent: LabAgent, sleepers: list[NodeProcess]) -> None:
    agent.arm(1, SLEEP, boot_ns() + 500 * MS, 2000)
    assert [state(lab, process) for process in sleepers] == ["S", "S"]
    shown = agent.verdict(1)
    assert shown["status"]["verdict"] == "seen"
    assert len(shown["status"]["targets"]) == 2
    shown = agent.done(1)
    assert "error" not in shown
    assert (shown["status"]["verdict"], shown["status"]["undoneBy"]) == ("seen", "end")
    assert shown["status"]["seenEndMs"] >= shown["status"]["askedEndMs"]
    assert [state(lab, process) for process in sleepers] == ["S", "S"]


def test_a_process_that_appears_during_the_fault_is_stopped_too(
    lab: Lab, agent: LabAgent, sleepers: list[NodeProcess]
) -> None:
    agent.arm(1, SLEEP, boot_ns() + 300 * MS, 60_000)
    assert agent.verdict(1)["status"]["verdict"] == "seen"
    with closing(lab.node("n1").popen(["sleep", "3600"])) as late:
        until(lambda: state(lab, late) == "T")
        notes = agent.when(1, lambda shown: shown["status"]["notes"])["status"]["notes"]
        assert f"pid {late.pid}" in notes[0]
        assert notes[0].endswith("ms after the start, seen")
        agent.stop(1)
        assert "error" not in agent.done(1)
        until(lambda: state(lab, late) == "S")
        late.kill()
        late.wait(60)
    assert [state(lab, process) for process in sleepers] == ["S", "S"]


def test_a_target_that_dies_is_found_out_and_no_failed_heal(
    lab: Lab, agent: LabAgent, sleepers: list[NodeProcess]
) -> None:
    agent.arm(1, SLEEP, boot_ns() + 300 * MS, 60_000)
    assert agent.verdict(1)["status"]["verdict"] == "seen"
    sleepers[0].kill()
    shown = agent.done(1)
    assert shown["error"] == f"not seen: sleep (pid {sleepers[0].pid}) is gone"
    until(lambda: state(lab, sleepers[1]) == "S")


@pytest.mark.parametrize("how", ["kill", "hang"])
def test_a_stopped_process_goes_on_when_its_agent_dies_or_hangs(
    lab: Lab, agent: LabAgent, sleepers: list[NodeProcess], how: str
) -> None:
    agent.arm(1, SLEEP, boot_ns() + 300 * MS, 60_000)
    until(lambda: [state(lab, process) for process in sleepers] == ["T", "T"])
    agent.process.send_signal(9 if how == "kill" else 19)
    until(lambda: [state(lab, process) for process in sleepers] == ["S", "S"])
    assert agent.process.wait(60) == -9
    agent.start_again()


def test_two_faults_on_one_process_hold_until_the_last_ends(
    lab: Lab, agent: LabAgent, sleepers: list[NodeProcess]
) -> None:
    for worker_id in (1, 2):
        agent.arm(worker_id, SLEEP, boot_ns() + 300 * MS, 60_000)
        assert agent.verdict(worker_id)["status"]["verdict"] == "seen"
    agent.stop(1)
    assert "error" not in agent.done(1)
    assert [state(lab, process) for process in sleepers] == ["T", "T"]
    agent.stop(2)
    assert "error" not in agent.done(2)
    assert [state(lab, process) for process in sleepers] == ["S", "S"]


def test_stopped_around_the_instant_nothing_is_left(lab: Lab, agent: LabAgent, sleepers: list[NodeProcess]) -> None:
    for worker_id, off_ms in enumerate((-20, -2, 0, 2, 20), start=1):
        start_ns = boot_ns() + 300 * MS
        agent.arm(worker_id, SLEEP, start_ns, 60_000)
        time.sleep(max(0, start_ns + off_ms * MS - boot_ns()) / 1e9)
        agent.stop(worker_id)
        shown: Any = agent.done(worker_id)
        assert "error" not in shown
        assert [state(lab, process) for process in sleepers] == ["S", "S"]
