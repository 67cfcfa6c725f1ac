"""``ls``, ``nodes``, ``mark``, ``stop``, ``freeze`` and ``thaw``: what they print, and how they end."""

import json
import re
from typing import Any

import pytest

from trogdor.cli import output
from unit.cli.support import Daemon, Run

NOOP = "org.apache.kafka.trogdor.task.NoOpTaskSpec"


def task(state: str, start_ms: int, **fields: Any) -> dict[str, Any]:
    return {"state": state, "spec": {"class": NOOP, "startMs": start_ms, "durationMs": 90_000}, **fields}


def test_ls_shows_the_latest_first(run: Run, daemon: Daemon) -> None:
    tasks = {
        "old": task("DONE", 1000, error="boom\nat x"),
        "new": task("RUNNING", 3000),
        "seen": task("DONE", 2000, status={"n1": {"verdict": "seen"}, "n2": {"verdict": "unverified: no agent"}}),
    }
    daemon.answers["GET /coordinator/tasks"] = (200, {"tasks": tasks})
    daemon.answers["GET /coordinator/faults"] = (200, {"faults": []})
    lines = run("ls", "-t", daemon.target).out.splitlines()
    assert lines[0].split() == ["ID", "WHAT", "STATE", "START", "FOR", "OUTCOME"]
    assert [line.split()[0] for line in lines[1:]] == ["new", "seen", "old"]
    assert lines[2].endswith("unverified: no agent")
    assert lines[3].split()[-2:] == ["1m30s", "boom"]
    assert json.loads(run("ls", "-t", daemon.target, "--json").out) == tasks


def test_ls_by_state_and_of_none(run: Run, daemon: Daemon) -> None:
    daemon.answers["GET /coordinator/tasks?state=RUNNING"] = (200, {})
    daemon.answers["GET /coordinator/faults"] = (200, {"faults": []})
    assert run("ls", "--state", "running", "-t", daemon.target).out == "no tasks\n"


def test_nodes(run: Run, daemon: Daemon) -> None:
    known = {
        "n2": {"kind": "java", "up": False, "lastSeenMs": None, "offsetMs": None},
        "n1": {"kind": "own", "up": True, "lastSeenMs": 1, "offsetMs": -1.25, "uncertaintyMs": 0.3},
    }
    daemon.answers["GET /coordinator/nodes"] = (200, {"nodes": known})
    lines = run("nodes", "-t", daemon.target).out.splitlines()
    assert lines[1].split()[:3] == ["n1", "up", "own"]
    assert lines[1].endswith("-1.2 ms ± 0.3")
    assert lines[2].split() == ["n2", "down", "java", "never"]
    assert json.loads(run("nodes", "-t", daemon.target, "--json").out) == known


def test_mark(run: Run, daemon: Daemon) -> None:
    daemon.answers["POST /coordinator/mark"] = (200, {})
    assert run("mark", "load started", "-t", daemon.target).code == 0
    assert daemon.requests == [("POST /coordinator/mark", {"text": "load started"})]


def test_stop_waits_until_it_is_done(run: Run, daemon: Daemon) -> None:
    states = ["RUNNING", "STOPPING", "DONE"]
    daemon.answers["GET /coordinator/tasks/t1"] = lambda _: (200, task(states.pop(0), 1, cancelled=True))
    daemon.answers["PUT /coordinator/task/stop"] = (200, {})
    done = run("stop", "t1", "-t", daemon.target)
    assert (done.code, done.out) == (0, "t1 is stopped, and healed\n")
    assert states == []


def test_stop_of_what_remains_is_exit_4(run: Run, daemon: Daemon) -> None:
    error = "n1: could not be undone: qdisc eth0: no such device"
    daemon.answers["GET /coordinator/tasks/t1"] = (200, task("DONE", 1, cancelled=True, error=error))
    daemon.answers["PUT /coordinator/task/stop"] = (200, {})
    done = run("stop", "t1", "-t", daemon.target)
    assert done.code == 4
    assert error in done.err
    assert "trogdor heal" in done.err


def test_stop_of_an_unknown_task_names_the_nearest(run: Run, daemon: Daemon) -> None:
    daemon.answers["GET /coordinator/tasks"] = (200, {"tasks": {"partition-1": task("RUNNING", 1)}})
    done = run("stop", "partition-2", "-t", daemon.target)
    assert done.code == 2
    assert "did you mean partition-1?" in done.err


def test_stop_all_says_what_remains(run: Run, daemon: Daemon) -> None:
    daemon.answers["PUT /coordinator/heal"] = (200, {"stopped": ["a", "b"], "remaining": {}})
    assert run("stop", "--all", "-t", daemon.target).out == "healed: a b\n"
    daemon.answers["PUT /coordinator/heal"] = (200, {"stopped": ["a"], "remaining": {"b": ["n3"]}})
    done = run("stop", "--all", "-t", daemon.target)
    assert done.code == 4
    assert "task b: n3" in done.err
    assert "trogdor heal --local" in done.err


def test_freeze_and_thaw_everywhere_or_on_one_agent(run: Run, daemon: Daemon) -> None:
    for kind in ("coordinator", "agent"):
        for verb in ("freeze", "thaw"):
            daemon.answers[f"PUT /{kind}/{verb}"] = (200, {})
            option = "-t" if kind == "coordinator" else "--agent"
            assert run(verb, option, daemon.target).code == 0
            assert daemon.requests[-1][0] == f"PUT /{kind}/{verb}"


def test_freeze_and_thaw_of_some_nodes(run: Run, daemon: Daemon) -> None:
    for verb in ("freeze", "thaw"):
        daemon.answers[f"PUT /coordinator/{verb}"] = (200, {})
        assert "n3 n4" in run(verb, "n3", "n4", "-t", daemon.target).out
        assert daemon.requests[-1] == (f"PUT /coordinator/{verb}", {"nodeNames": ["n3", "n4"]})
    assert run("freeze", "n3", "--agent", daemon.target).code == 2


@pytest.mark.parametrize("verb", ["ls", "faults"])
def test_who_refuses_new_faults_is_named(run: Run, daemon: Daemon, verb: str) -> None:
    daemon.answers["GET /coordinator/tasks"] = (200, {})
    daemon.answers["GET /coordinator/faults"] = (200, {"faults": [], "frozen": True, "frozenNodes": ["n3"]})
    lines = run(verb, "-t", daemon.target).out.splitlines()
    assert lines[1:] == [
        "frozen: new faults are refused everywhere until `trogdor thaw`",
        "frozen: n3 refuses new faults until `trogdor thaw n3`",
    ]


def test_a_frozen_coordinator_is_exit_6(run: Run, daemon: Daemon) -> None:
    daemon.answers["POST /coordinator/mark"] = (503, {"code": 503, "message": "frozen"})
    assert run("mark", "x", "-t", daemon.target).code == 6


def test_colours_take_no_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    output.print_table(("A", "B"), [(output.good("up"), "x"), (output.bad("down"), "y")])
    lines = [re.sub(r"\033\[\d*m", "", line) for line in capsys.readouterr().out.splitlines()]
    assert lines == ["A     B", "up    x", "down  y"]
