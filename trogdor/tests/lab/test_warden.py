"""The warden, by what it does to a real agent and to the process that this one stopped."""

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.ledger_process import LedgerProcess
from lab.waiting import wait_until
from trogdor.claim.ledger import boot_ns
from trogdor.claim.model import Claim, Term
from trogdor.lab import Lab
from trogdor.lab.node import NodeProcess
from trogdor.platform.linux import processes

pytestmark = pytest.mark.lab

LONG_NS = 3_600 * 10**9
_workers = itertools.count(1)


@pytest.fixture
def sleeper(lab: Lab) -> Iterator[NodeProcess]:
    with lab.nodes["n5"].popen(["/bin/sleep", "1000"]) as process:
        wait_until(lambda: state(process) == "S")
        yield process


@pytest.fixture
def agent(lab: Lab, tmp_path: Path) -> Iterator[LedgerProcess]:
    with LedgerProcess(lab.nodes["n5"], tmp_path / "state") as process:
        yield process


def state(process: NodeProcess) -> str:
    seen = processes.read(process.host_pid or 0)
    return "gone" if seen is None else seen.state


def claim(process: NodeProcess, lasts_ns: int = LONG_NS) -> Claim:
    worker = next(_workers)
    seen = processes.read(process.host_pid or 0)
    assert seen is not None
    key, now = f"{process.pid}@{seen.started}", boot_ns()
    return Claim(f"{worker}/{key}", "process", key, "stopped", Term(f"t{worker}", worker, now, now + lasts_ns))


def stopped(agent: LedgerProcess, sleeper: NodeProcess, lasts_ns: int = LONG_NS) -> None:
    agent("open", warden=True)
    one = claim(sleeper, lasts_ns)
    agent.admit(one)
    assert agent("fire", ids=[one.id]) == {}
    wait_until(lambda: state(sleeper) == "T" or boot_ns() > one.term.end_ns)


def ended_by(lab: Lab, agent: LedgerProcess) -> set[str]:
    """What the next agent reads in the journal."""
    with LedgerProcess(lab.nodes["n5"], agent.log.parent) as heir:
        return set(heir("open")["ended"].values())


def test_a_killed_agent_s_fault_is_undone_without_another_agent(
    lab: Lab, agent: LedgerProcess, sleeper: NodeProcess
) -> None:
    stopped(agent, sleeper)
    agent.process.kill()
    wait_until(lambda: state(sleeper) == "S")
    wait_until(lambda: "undid 1 of 1" in agent.log.read_text())
    assert ended_by(lab, agent) == {"warden"}


def test_an_agent_that_hangs_is_ended_and_its_fault_undone(
    lab: Lab, agent: LedgerProcess, sleeper: NodeProcess
) -> None:
    stopped(agent, sleeper)
    agent.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: state(sleeper) == "S")
    assert agent.process.wait(30) == -signal.SIGKILL
    assert "has not been heard of" in agent.log.read_text()


def test_an_agent_whose_loop_hangs_is_ended_too(agent: LedgerProcess, sleeper: NodeProcess) -> None:
    stopped(agent, sleeper)
    agent("silence")
    wait_until(lambda: state(sleeper) == "S")
    assert agent.process.wait(30) == -signal.SIGKILL


def test_a_fault_that_is_not_undone_in_time_is_undone_by_the_warden(agent: LedgerProcess, sleeper: NodeProcess) -> None:
    stopped(agent, sleeper, lasts_ns=300_000_000)
    assert agent.process.wait(30) == -signal.SIGKILL
    wait_until(lambda: state(sleeper) == "S")
    assert "past its end and was not undone" in agent.log.read_text()


def test_an_agent_that_undoes_its_faults_in_time_is_left_alone(agent: LedgerProcess, sleeper: NodeProcess) -> None:
    agent("open", warden=True)
    short, long = claim(sleeper, 500_000_000), claim(sleeper)
    agent.admit(short, long)
    agent("fire", ids=[short.id, long.id])
    agent("release", ids=[short.id])
    later = short.term.end_ns + 2 * 10**9
    wait_until(lambda: boot_ns() > later)
    assert agent("in_force") == [long.id]
    assert state(sleeper) == "T"
    agent("close")
    wait_until(lambda: state(sleeper) == "S")


def test_an_idle_agent_may_be_stopped_for_as_long_as_one_likes(agent: LedgerProcess) -> None:
    agent("open", warden=True)
    agent.process.send_signal(signal.SIGSTOP)
    later = boot_ns() + 4 * 10**9
    wait_until(lambda: boot_ns() > later)
    agent.process.send_signal(signal.SIGCONT)
    assert agent("in_force") == []


def test_the_warden_goes_with_an_agent_that_ends_in_order(agent: LedgerProcess) -> None:
    warden = agent("open", warden=True)["warden"]
    agent("close")
    agent.process.stdin.close()
    assert agent.process.wait(30) == 0
    assert warden > 0
    assert not agent.log.read_text()


def test_a_killed_warden_is_started_again_and_covers_what_was_claimed_before(
    lab: Lab, agent: LedgerProcess, sleeper: NodeProcess
) -> None:
    stopped(agent, sleeper)
    first = agent("warden")
    with lab.nodes["n5"].popen(["/bin/kill", "-KILL", str(first)]) as kill:
        kill.wait(30)
    wait_until(lambda: agent("warden") != first)
    agent.process.kill()
    wait_until(lambda: state(sleeper) == "S")


def test_two_claims_of_a_dead_agent_are_undone_together(lab: Lab, agent: LedgerProcess, sleeper: NodeProcess) -> None:
    with lab.nodes["n5"].popen(["/bin/sleep", "1001"]) as other:
        agent("open", warden=True)
        both = [claim(sleeper), claim(other)]
        agent.admit(*both)
        agent("fire", ids=[each.id for each in both])
        wait_until(lambda: state(sleeper) == state(other) == "T")
        agent.process.kill()
        wait_until(lambda: state(sleeper) == state(other) == "S")


def test_the_warden_is_small(agent: LedgerProcess, lab: Lab) -> None:
    agent("open", warden=True)
    warden = next(
        process for process in processes.everyone(_place(lab)) if "trogdor.warden" in " ".join(process.arguments)
    )
    wait_until(lambda: _resident_kib(warden.pid) > 8_000)
    assert _resident_kib(warden.pid) < 20 * 1024


def _place(lab: Lab) -> processes.Place:
    pid = lab.nodes["n5"].pid
    assert pid is not None
    return processes.Place.of_process(pid)


def _resident_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS"))
