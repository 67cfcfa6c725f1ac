"""What an agent cannot undo it tries again, shows, and leaves to its warden with an exit code that says so."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest

from trogdor.agent import daemon
from trogdor.claim.ledger import Ledger
from unit.agent.conftest import TROGDOR, WAIT_S, AgentProcess


@pytest.fixture
def thing(tmp_path: Path) -> Path:
    thing = tmp_path / "thing"
    thing.write_text("as it was")
    (tmp_path / "stuck").touch()
    return thing


@contextmanager
def agent_with_a_fault(directory: Path, *, stopped: bool) -> Iterator[AgentProcess]:
    parent_death = TROGDOR.partition(";")[0]
    program = f"{parent_death}; from unit.agent.stuck import main; main({stopped})"
    agent = AgentProcess(directory, program=program)
    try:
        yield agent.wait_until_it_answers()
    finally:
        (directory / "stuck").unlink(missing_ok=True)
        agent.end()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_overdue_is_shown_and_tried_again_until_it_is_undone(tmp_path: Path, thing: Path) -> None:
    with agent_with_a_fault(tmp_path, stopped=True) as agent:
        (shown,) = agent.send("GET", "/agent/faults")[1]["faults"]
        assert (shown["overdue"], shown["claims"]) == (True, [{"kind": "stuck", "key": str(thing)}])
        lease = {"coordinator": "c", "sentNs": 1}
        (told,) = agent.send("POST", "/agent/lease", lease)[1]["overdue"]
        for instant in ("startMs", "untilMs"):  # by the wall clock of when it is asked, in whole ms
            assert abs(told.pop(instant) - shown.pop(instant)) < 1000
        assert told == shown
        agent.until(lambda: "tried again to undo what is overdue" in agent.log.read_text())
        assert thing.read_text() == "faulty"
        thing.with_name("stuck").unlink()
        agent.until(lambda: thing.read_text() == "as it was")
        agent.until(lambda: agent.send("GET", "/agent/faults")[1]["faults"] == [])
        assert "overdue" not in agent.send("POST", "/agent/lease", lease)[1]
        assert agent.end() == 0


def test_an_agent_that_ends_and_cannot_undo_a_fault_says_so_and_its_warden_goes_on(tmp_path: Path, thing: Path) -> None:
    with agent_with_a_fault(tmp_path, stopped=False) as agent:
        assert agent.end() == 4
        log = agent.log.read_text()
        assert f"could not undo: node0: {thing}: it is stuck" in log
        assert f"trogdor heal --local --state {agent.state}" in log
        assert "no fault is left" not in log
        thing.with_name("stuck").unlink()
        until(lambda: thing.read_text() == "as it was")
        until(lambda: "undid 1 of 1 claims" in agent.log.read_text())


async def test_a_ledger_that_hangs_or_fails_keeps_no_heartbeat_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "HEARTBEAT_S", 0.001)
    hanging, over, calls = threading.Event(), threading.Event(), list[str]()

    def tend(_: Ledger) -> None:
        calls.append("tended")
        if len(calls) == 1:
            raise KeyError("failed")
        hanging.set()
        over.wait(WAIT_S)

    beats = asyncio.Queue[None]()
    agent = daemon.Agent.__new__(daemon.Agent)
    agent._warden = Mock(heartbeat=lambda: beats.put_nowait(None))
    agent.places = Mock(open={"n1": Mock()})
    running = [asyncio.create_task(agent._beat()), asyncio.create_task(agent._tend(tend, 0.001))]
    try:
        assert await asyncio.to_thread(hanging.wait, WAIT_S)
        for _ in range(beats.qsize() + 10):
            await asyncio.wait_for(beats.get(), WAIT_S)
        assert len(calls) == 2
    finally:
        over.set()
        for task in running:
            task.cancel()
