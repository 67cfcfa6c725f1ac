"""A task in the foreground: checked, leased, watched, healed; against a daemon that plays its part."""

import json
import os
import signal
import threading
from typing import Any

import pytest

from trogdor.cli import foreground
from unit.cli.support import Daemon, Run

FAULT = "org.apache.kafka.trogdor.fault.NetworkPartitionFaultSpec"
ARGS = ("partition", "n1", "/", "n2", "--for", "30s", "--id", "p1")


def status(verdict: str = "seen", **times: Any) -> dict[str, Any]:
    shown = {"text": "x", "verdict": verdict, "askedStartMs": 1000.0, "askedEndMs": 2000.0, "targets": ["n2 → n1"]}
    return {**shown, **times}


SEEN = status(seenStartMs=1002.5)
HEALED = status(seenStartMs=1002.5, seenEndMs=2001.0, undoneBy="end")


def task(state: str, *statuses: dict[str, Any], **fields: Any) -> dict[str, Any]:
    by_node = {f"n{at + 1}": value for at, value in enumerate(statuses)}
    return {"state": state, "spec": {"class": FAULT, "startMs": 1000, "durationMs": 1000}, "status": by_node, **fields}


@pytest.fixture
def coordinator(daemon: Daemon) -> Daemon:
    """A coordinator that accepts any task; ``play`` says how it goes."""
    daemon.answers["GET /coordinator/uptime"] = (200, {"serverStartMs": 1, "nowMs": 1000})
    daemon.answers["POST /coordinator/task/plan"] = (200, {"problems": [], "nodes": ["n1", "n2"], "plans": {}})
    daemon.answers["POST /coordinator/task/create"] = (200, {})
    daemon.answers["DELETE /coordinator/lease?id=lease1"] = (200, {})
    daemon.answers["GET /coordinator/nodes"] = (200, {"nodes": {"n1": {}, "n2": {}}})
    return daemon


def play(daemon: Daemon, *scenes: dict[str, Any]) -> None:
    """Each look at the task shows the next scene; the last one stays."""
    left = list(scenes)

    def look(_: Any) -> tuple[int, Any]:
        return 200, left.pop(0) if len(left) > 1 else left[0]

    daemon.answers["GET /coordinator/tasks/p1"] = look


def test_a_stop_is_not_compared_with_the_end_asked_for(run: Run, coordinator: Daemon) -> None:
    play(coordinator, task("DONE", status(seenStartMs=1002.5, seenEndMs=1500.0, undoneBy="stop"), cancelled=True))
    assert "healed 1970-01-01T00:00:01.500\n" in run(*ARGS, "-t", coordinator.target).out


def lines_sent(daemon: Daemon) -> list[str]:
    return [line for line, _ in daemon.requests]


def test_asked_and_seen_are_shown_for_each_node(run: Run, coordinator: Daemon) -> None:
    play(coordinator, task("RUNNING", SEEN, status("armed")), task("RUNNING", SEEN, SEEN), task("DONE", HEALED, HEALED))
    done = run(*ARGS, "-t", coordinator.target)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "p1  NetworkPartitionFaultSpec on n1 n2"
    assert sum("seen 1970-01-01T00:00:01.002 (+2.5 ms)  n2 → n1" in line for line in lines) == 2
    assert sum("healed 1970-01-01T00:00:02.001 (+1.0 ms)" in line for line in lines) == 2
    assert lines[-1] == "took, and healed"
    assert "\033" not in done.out, "plain in a pipe"
    assert coordinator.leased == ["lease1"]
    assert lines_sent(coordinator)[-1] == "DELETE /coordinator/lease?id=lease1"


@pytest.mark.parametrize(
    ("spec", "first"),
    [
        ({"class": "RandomScheduleSpec", "seed": 7, "faults": []}, "schedule: seed 7, format version 1"),
        ({"class": "trogdor.schedule.RandomScheduleSpec", "faults": []}, "schedule: seed 0, format version 1"),
        ({"class": "FixedScheduleSpec", "tasks": []}, "schedule: no seed, format version 1"),
        ({"class": "NoOpTaskSpec"}, "p1  NoOpTaskSpec on n1 n2"),
    ],
)
def test_a_schedules_seed_and_format_version_are_the_first_line(
    run: Run, coordinator: Daemon, spec: dict[str, Any], first: str
) -> None:
    play(coordinator, task("DONE"))
    done = run("run", json.dumps(spec), "--for", "1s", "--id", "p1", "-t", coordinator.target)
    assert done.out.splitlines()[0] == first


def test_not_seen_is_exit_3(run: Run, coordinator: Daemon) -> None:
    play(coordinator, task("DONE", HEALED, status("not seen: packets pass"), error="not seen on n2"))
    done = run(*ARGS, "-t", coordinator.target)
    assert done.code == 3
    assert "n2: not seen: packets pass" in done.err


def test_every_problem_is_listed_and_nothing_created(run: Run, coordinator: Daemon) -> None:
    problems = [
        {"path": "spec.partitions[0]", "message": "Unknown node names: n11"},
        {"path": "spec.durationMs", "message": "too long"},
    ]
    coordinator.answers["POST /coordinator/task/plan"] = (200, {"problems": problems, "nodes": []})
    done = run(*ARGS, "-t", coordinator.target)
    assert done.code == 2
    assert "spec.partitions[0]: Unknown node names: n11" in done.err
    assert "spec.durationMs: too long" in done.err
    assert "for n11, did you mean n1" in done.err
    assert "POST /coordinator/task/create" not in lines_sent(coordinator)


@pytest.mark.parametrize(
    ("kinds", "code"),
    [(["unreachable"], 5), (["impossible", "impossible"], 6), (["impossible", "spec"], 2), (["spec"], 2)],
)
def test_why_it_was_refused_is_the_exit_code(run: Run, coordinator: Daemon, kinds: list[str], code: int) -> None:
    problems = [{"path": "spec", "message": "no", "kind": kind} for kind in kinds]
    coordinator.answers["POST /coordinator/task/plan"] = (200, {"problems": problems, "nodes": []})
    assert run(*ARGS, "-t", coordinator.target).code == code


PAUSE = ("pause", "n1", "--name", "x", "--for", "1s", "--id", "p1")


def nothing_matches(daemon: Daemon) -> None:
    plan = {"claims": [], "problem": "", "unverified": "no process matched"}
    daemon.answers["POST /coordinator/task/plan"] = (200, {"problems": [], "nodes": ["n1"], "plans": {"n1": plan}})


def test_a_pause_that_matches_nothing_is_refused_beforehand(run: Run, coordinator: Daemon) -> None:
    nothing_matches(coordinator)
    done = run(*PAUSE, "-t", coordinator.target)
    assert done.code == 3
    assert "node n1: no process matched" in done.err
    assert "POST /coordinator/task/create" not in lines_sent(coordinator)


def test_a_later_pause_may_match_then(run: Run, coordinator: Daemon) -> None:
    nothing_matches(coordinator)
    assert run(*PAUSE, "-t", coordinator.target, "--in", "1m", "--detach").code == 0


def test_json_is_the_outcome_alone(run: Run, coordinator: Daemon) -> None:
    play(coordinator, task("RUNNING", SEEN, SEEN), task("DONE", HEALED, HEALED))
    done = run(*ARGS, "-t", coordinator.target, "--json")
    outcome = json.loads(done.out)
    assert (done.code, outcome["id"], outcome["exitCode"]) == (0, "p1", 0)
    assert outcome["task"]["status"]["n1"]["seenEndMs"] == 2001.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_heals_and_waits(run: Run, coordinator: Daemon, number: signal.Signals) -> None:
    looks = iter(range(10**6))
    stopped = threading.Event()

    def look(_: Any) -> tuple[int, Any]:
        if next(looks) == 2:
            os.kill(os.getpid(), number)
        return 200, task("DONE", HEALED, HEALED, cancelled=True) if stopped.is_set() else task("RUNNING", SEEN, SEEN)

    def stop(_: Any) -> tuple[int, Any]:
        stopped.set()
        return 200, {}

    coordinator.answers["GET /coordinator/tasks/p1"] = look
    coordinator.answers["PUT /coordinator/task/stop"] = stop
    done = run(*ARGS, "-t", coordinator.target)
    assert done.code == 130, done.err
    assert "healed" in done.out.splitlines()[-1]
    assert "PUT /coordinator/task/stop" in lines_sent(coordinator)


def test_under_nohup_a_hangup_is_ignored(run: Run, coordinator: Daemon) -> None:
    looks = iter(range(10**6))

    def look(_: Any) -> tuple[int, Any]:
        if (at := next(looks)) == 1:
            os.kill(os.getpid(), signal.SIGHUP)
        return 200, task("DONE", HEALED, HEALED) if at > 3 else task("RUNNING", SEEN, SEEN)

    coordinator.answers["GET /coordinator/tasks/p1"] = look
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(*ARGS, "-t", coordinator.target).code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_interruption_that_does_not_heal_is_exit_4(
    run: Run, coordinator: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreground, "HEAL_DEADLINE_S", 0.3)
    looks = iter(range(10**6))

    def look(_: Any) -> tuple[int, Any]:
        if next(looks) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return 200, task("RUNNING", SEEN, SEEN)

    coordinator.answers["GET /coordinator/tasks/p1"] = look
    coordinator.answers["PUT /coordinator/task/stop"] = (200, {})
    done = run(*ARGS, "-t", coordinator.target)
    assert done.code == 4
    assert "trogdor faults" in done.err


def test_a_coordinator_that_goes_away_is_exit_5_and_names_heal(
    run: Run, coordinator: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreground, "SILENCE_S", 0.3)
    play(coordinator, task("RUNNING", SEEN, SEEN))
    coordinator.dies_after = "GET /coordinator/tasks/p1"
    done = run(*ARGS, "-t", coordinator.target)
    assert done.code == 5
    assert "trogdor heal" in done.err
    assert "p1" in done.err


def test_detach_returns_once_it_is_in_force(run: Run, coordinator: Daemon) -> None:
    play(coordinator, task("RUNNING", SEEN, status("armed")), task("RUNNING", SEEN, SEEN))
    done = run(*ARGS, "-t", coordinator.target, "--detach")
    assert done.code == 0, done.err
    assert "trogdor stop p1" in done.out
    assert coordinator.leased == [], "a detached task has no lease"


def test_detach_says_when_it_did_not_take(run: Run, coordinator: Daemon) -> None:
    play(coordinator, task("RUNNING", SEEN, status("unverified: no process matched")))
    done = run(*ARGS, "-t", coordinator.target, "--detach")
    assert done.code == 3
    assert "no process matched" in done.err


def test_detached_and_later_returns_at_once(run: Run, coordinator: Daemon) -> None:
    play(coordinator, task("PENDING"))
    done = run(*ARGS, "-t", coordinator.target, "--detach", "--in", "1h")
    assert done.code == 0, done.err
    assert "GET /coordinator/tasks/p1" not in lines_sent(coordinator)
