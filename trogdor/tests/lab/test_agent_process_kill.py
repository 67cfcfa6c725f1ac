"""An agent kills real processes, sees that they are gone, and has them started again as they were."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from lab.agents import MS, LabAgent, boot_ns, running_agents, until
from trogdor.lab import Lab
from trogdor.lab.node import Node, NodeProcess

KILL = "trogdor.fault.ProcessKillFaultSpec"
SCRIPT = "while :; do echo tick; sleep 0.1; done"
DEAF = f"trap '' TERM; {SCRIPT}"
NOBODY = 65534
LONG_MS = 60_000
NOTHING_BLOCKED = "SigBlk:\t0000000000000000"


@pytest.fixture(scope="module")
def agent(lab: Lab) -> Iterator[LabAgent]:
    with running_agents(lab, ["n1"]) as agents:
        yield agents["n1"]


@pytest.fixture
def node(lab: Lab, agent: LabAgent) -> Iterator[Node]:
    node = lab.node("n1")
    yield node
    agent.forget_all()
    for pid in (*tickers(node), *tickers(node, DEAF)):
        node.exec(["kill", "-KILL", str(pid)])
    until(lambda: not tickers(node) + tickers(node, DEAF))


@pytest.fixture
def ticker(node: Node) -> Iterator[NodeProcess]:
    """A service of its own user, environment, directory and log."""
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "nice", "-n", "3"]
    line = [*user, "sh", "-c", SCRIPT]
    process = node.popen(line, log="ticker", env={"PATH": "/usr/bin:/bin", "WITNESS": "it"}, cwd="/var")
    until(lambda: tickers(node) == [process.pid])
    yield process
    process.close()


def tickers(node: Node, script: str = SCRIPT) -> list[int]:
    """Without copies of themselves that are about to turn into another program."""
    alike = [each for each in node.processes() if each.command == f"sh -c {script}" and each.state != "Z"]
    return [each.pid for each in alike if each.parent not in [other.pid for other in alike]]


def spec(**fields: Any) -> dict[str, Any]:
    return {"class": KILL, "nodeNames": ["n1"], "match": {"pattern": "^sh -c while"}, **fields}


def traits(node: Node, pid: int) -> list[str]:
    """What a process is, as /proc shows it to anybody, while it is no shell that is just forking."""

    def settled() -> list[str]:
        found = _traits_now(node, pid)
        return found if NOTHING_BLOCKED in found else []

    return list(until(settled))


def _traits_now(node: Node, pid: int) -> list[str]:
    looks = (
        "cat cmdline environ | tr '\\0' '\\n' | grep -v ^TROGDOR_STARTED_FOR=; readlink exe cwd fd/1 fd/2; cat limits"
    )
    more = "grep -E '^(Uid|Gid|Groups|Umask|SigIgn|SigBlk)' status; cut -d' ' -f19 stat"
    ran = node.exec(["sh", "-c", f"cd /proc/{pid} && {{ {looks}; {more}; }}"], check=True)
    return str(ran.stdout).splitlines()


def one_that_is_new(node: Node, before: int) -> int:
    (pid,) = until(lambda: [pid for pid in tickers(node) if pid != before])
    return int(pid)


def test_a_killed_process_is_gone_and_then_runs_again_as_it_was(node: Node, agent: LabAgent, ticker: Any) -> None:
    before = traits(node, ticker.pid)
    assert "/var/log/ticker.log" in before
    agent.arm(1, spec(), boot_ns() + 500 * MS, 1500)
    assert tickers(node) == [ticker.pid]
    shown = agent.verdict(1)
    assert (shown["status"]["verdict"], tickers(node)) == ("seen", [])
    shown = agent.done(1)
    assert "error" not in shown
    assert shown["status"]["seenEndMs"] >= shown["status"]["askedEndMs"]
    assert traits(node, one_that_is_new(node, ticker.pid)) == before
    written = node.log("ticker")
    until(lambda: len(node.log("ticker")) > len(written))


def test_killed_again_it_is_started_once(node: Node, agent: LabAgent, ticker: Any) -> None:
    agent.arm(1, spec(), boot_ns() + 200 * MS, 700)
    assert "error" not in agent.done(1)
    second = one_that_is_new(node, ticker.pid)
    agent.arm(2, spec(), boot_ns() + 200 * MS, 700)
    assert "error" not in agent.done(2)
    assert one_that_is_new(node, second) != ticker.pid
    assert len(tickers(node)) == 1


@pytest.mark.parametrize("how", ["kill", "hang"])
def test_it_runs_again_when_its_agent_dies_or_hangs(node: Node, agent: LabAgent, ticker: Any, how: str) -> None:
    agent.arm(1, spec(), boot_ns() + 300 * MS, LONG_MS)
    until(lambda: not tickers(node))
    agent.process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGSTOP)
    one_that_is_new(node, ticker.pid)
    assert agent.process.wait(60) == -9
    agent.start_again()
    assert len(tickers(node)) == 1


def test_it_runs_again_by_the_next_agent_when_the_warden_died_too(node: Node, agent: LabAgent, ticker: Any) -> None:
    agent.arm(1, spec(), boot_ns() + 300 * MS, LONG_MS)
    until(lambda: not tickers(node))
    wardens = [str(each.pid) for each in node.processes() if "trogdor.warden" in each.command]
    node.exec(["kill", "-KILL", *wardens, str(agent.process.pid)], check=True)
    assert agent.process.wait(60) == -9
    agent.start_again()
    one_that_is_new(node, ticker.pid)


def test_one_that_does_not_end_when_asked_is_killed_at_the_end(node: Node, agent: LabAgent) -> None:
    process = node.popen(["sh", "-c", DEAF], log="ticker")
    deaf = {"match": {"pattern": "^sh -c trap"}, "signal": "TERM"}
    until(lambda: tickers(node, DEAF) == [process.pid])
    agent.arm(1, spec(**deaf), boot_ns() + 300 * MS, 1000)
    agent.done(1)
    assert process.wait(60) == -signal.SIGKILL
    until(lambda: tickers(node, DEAF))
    assert len(tickers(node, DEAF)) == 1
    assert tickers(node, DEAF) != [process.pid]


def test_nobody_starts_it_again_where_that_is_asked_for(node: Node, agent: LabAgent, ticker: Any) -> None:
    agent.arm(1, spec(restart="none"), boot_ns() + 300 * MS, 500)
    shown = agent.done(1)
    assert ("error" not in shown, tickers(node)) == (True, [])


def test_one_that_somebody_else_starts_during_the_fault_is_told(node: Node, agent: LabAgent, ticker: Any) -> None:
    agent.arm(1, spec(), boot_ns() + 300 * MS, LONG_MS)
    assert agent.verdict(1)["status"]["verdict"] == "seen"
    with node.popen(["setpriv", f"--reuid={NOBODY}", "--clear-groups", "sh", "-c", SCRIPT]) as other:
        shown = agent.done(1)
        assert f"sh runs again (pid {other.pid})" in shown["error"]
        assert "somebody else" in shown["status"]["notes"][0]
        assert tickers(node) == [other.pid]


def test_a_command_starts_it_again(node: Node, agent: LabAgent, ticker: Any) -> None:
    start = ["sh", "-c", f"exec sh -c '{SCRIPT}' >/var/log/other.log"]
    agent.arm(1, spec(restartCommand=start), boot_ns() + 300 * MS, 700)
    assert "error" not in agent.done(1)
    one_that_is_new(node, ticker.pid)
    until(lambda: "tick" in node.log("other"))


def test_one_that_could_not_be_had_again_is_not_killed(node: Node, agent: LabAgent) -> None:
    with node.popen(["unshare", "-m", "sh", "-c", SCRIPT]) as own:
        until(lambda: tickers(node) == [own.pid])
        agent.arm(1, spec(), boot_ns() + 300 * MS, 1000)
        error = agent.done(1)["error"]
        assert "its mnt namespace is its own" in error
        assert "restartCommand" in error
        assert tickers(node) == [own.pid]
