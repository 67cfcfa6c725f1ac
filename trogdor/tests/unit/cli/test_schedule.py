"""``trogdor schedule``, ``replay`` and ``hunt``: what is printed, what is asked of the coordinator, how it ends."""

import json
from itertools import count
from math import inf
from pathlib import Path
from typing import Any

import pytest

from trogdor.hunt import run as hunt_run
from trogdor.spec import parse
from unit.cli.support import Daemon, Run

SOAK = """
class: RandomScheduleSpec
durationMs: 20000
seed: 7
atOnce: 2
nodes: {count: minority}
faults:
  - spec: {class: NetworkPartitionFaultSpec, partitions: [$nodes, $others]}
"""
NODES = {"nodes": {f"n{number}": {"up": True} for number in range(1, 6)}}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks are looked at without a pause: they are done when they have been looked at often enough."""
    monkeypatch.setattr(hunt_run, "POLL_S", 0.0)
    monkeypatch.setattr(hunt_run, "MOST_POLL_S", 0.0)


@pytest.fixture
def soak(tmp_path: Path) -> str:
    path = tmp_path / "soak.yaml"
    path.write_text(SOAK)
    return str(path)


def coordinate(daemon: Daemon, ends: Any, looks_while_running: float = 2) -> None:
    """A coordinator whose tasks run once they are created, until they have been looked at so often or are stopped."""
    tasks: dict[str, Any] = {}

    def create(body: Any) -> tuple[int, Any]:
        task_id, looks = body["id"], 0
        tasks[task_id] = body["spec"]

        def look(_: Any) -> tuple[int, Any]:
            nonlocal looks
            looks += 1
            done = looks > looks_while_running or f"stop {task_id}" in stopped
            return 200, {"state": "DONE" if done else "RUNNING", "spec": body["spec"], "status": {"children": {}},
                         **(ends(body["spec"]) if done else {})}  # fmt: skip

        daemon.answers[f"GET /coordinator/tasks/{task_id}"] = look
        return 200, {}

    def stop(body: Any) -> tuple[int, Any]:
        stopped.append(f"stop {body['id']}")
        return 200, {}

    stopped: list[str] = []
    clock = count(step=10_000)
    daemon.answers |= {
        "GET /coordinator/nodes": (200, NODES),
        "GET /coordinator/uptime": lambda _: (200, {"serverStartMs": 1, "nowMs": next(clock)}),
        "POST /coordinator/task/check": (200, {"problems": [], "nodes": ["n1"]}),
        "POST /coordinator/task/create": create,
        "PUT /coordinator/task/stop": stop,
        "POST /coordinator/mark": (200, {}),
        "DELETE /coordinator/lease?id=lease1": (200, {}),
    }


def sent(daemon: Daemon, line: str) -> list[Any]:
    return [body for asked, body in daemon.requests if asked == line]


def test_show_starts_with_seed_and_format_and_draws_without_a_coordinator(run: Run, soak: str) -> None:
    result = run("schedule", "show", soak, "--nodes", "5")
    assert result.code == 0
    assert result.out.startswith("schedule: seed 7, format version 1, ")
    assert "NetworkPartition" in result.out
    assert [line for line in result.out.splitlines() if line.startswith("n5 ")]


def test_what_show_prints_as_json_can_be_replayed_and_another_seed_is_another_schedule(run: Run, soak: str) -> None:
    drawn = [run("schedule", "show", soak, "--nodes", "5", "--json", "--seed", str(seed)).out for seed in (7, 7, 8)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert parse(json.loads(drawn[0])).class_name == "trogdor.schedule.FixedScheduleSpec"


def test_show_writes_an_svg(run: Run, soak: str, tmp_path: Path) -> None:
    assert run("schedule", "show", soak, "--nodes", "3", "--svg", str(tmp_path / "x.svg")).code == 0
    assert (tmp_path / "x.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class: RandomScheduleSpec\nfaults: []\nbogus: 1\n", ["faults", "bogus"]),
        ("class: NoOpTaskSpec\n", ["is no schedule"]),
        ("class: [\n", ["is not YAML"]),
        (SOAK.replace("minority", "9"), ["faults[0].nodes: 9 nodes are wanted, and only 5"]),
    ],
)
def test_a_wrong_schedule_is_told_with_every_problem(run: Run, tmp_path: Path, text: str, said: list[str]) -> None:
    (tmp_path / "x.yaml").write_text(text)
    result = run("schedule", "show", str(tmp_path / "x.yaml"), "--nodes", "5")
    assert result.code == 2
    for words in said:
        assert words in result.err


def test_run_passes_when_the_check_does(run: Run, daemon: Daemon, soak: str) -> None:
    coordinate(daemon, lambda spec: {})
    result = run("schedule", "run", soak, "-t", daemon.target, "--check", "true")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("schedule: seed 7, format version 1")
    assert daemon.leased == ["lease1"]
    assert sent(daemon, "PUT /coordinator/task/stop") == []


def test_a_check_that_fails_during_the_faults_ends_them_and_marks_the_timeline(
    run: Run, daemon: Daemon, soak: str
) -> None:
    coordinate(daemon, lambda spec: {}, looks_while_running=inf)
    result = run("schedule", "run", soak, "-t", daemon.target, "--check", "echo lost; exit 9", "--every", "1ms")
    assert result.code == 1
    assert "the check failed: exit code 9: lost" in result.err
    assert len(sent(daemon, "PUT /coordinator/task/stop")) == 1
    assert sent(daemon, "POST /coordinator/mark") == [{"text": "check failed: exit code 9: lost"}]


def test_a_schedules_own_check_is_drawn_with_it_and_its_failure_is_no_fault_that_did_not_take(
    run: Run, daemon: Daemon, soak: str, tmp_path: Path
) -> None:
    (tmp_path / "checked.yaml").write_text(SOAK + "check: {command: [/opt/invariants], everyMs: 2000}\n")
    drawn = tmp_path / "drawn.json"
    drawn.write_text(run("schedule", "show", str(tmp_path / "checked.yaml"), "--nodes", "5", "--json").out)
    assert json.loads(drawn.read_text())["check"] == {
        "command": ["/opt/invariants"],
        "everyMs": 2000,
        "timeoutMs": 60000,
    }
    coordinate(daemon, lambda spec: {"error": "check failed: exit code 1: lost"})
    result = run("replay", str(drawn), "-t", daemon.target)
    assert result.code == 1
    assert "the check failed: exit code 1: lost" in result.err
    assert sent(daemon, "POST /coordinator/mark") == []


def test_faults_that_did_not_take_are_exit_3(run: Run, daemon: Daemon, soak: str) -> None:
    coordinate(daemon, lambda spec: {"error": "n1: not seen: still answers"})
    result = run("schedule", "run", soak, "-t", daemon.target)
    assert result.code == 3
    assert "a fault did not take: n1: not seen: still answers" in result.err


def test_replay_runs_the_drawn_tasks_themselves(run: Run, daemon: Daemon, soak: str, tmp_path: Path) -> None:
    coordinate(daemon, lambda spec: {})
    drawn = tmp_path / "drawn.json"
    drawn.write_text(run("schedule", "show", soak, "--nodes", "5", "--json").out)
    result = run("replay", str(drawn), "-t", daemon.target, "--times", "2")
    assert result.code == 0
    assert result.out.startswith("schedule: seed 7, format version 1")
    created = sent(daemon, "POST /coordinator/task/create")
    assert [body["spec"] for body in created] == 2 * [json.loads(drawn.read_text())]
    assert run("replay", soak, "-t", daemon.target).code == 2


def test_hunt_finds_shrinks_and_says_how_to_replay(
    run: Run, daemon: Daemon, soak: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service breaks when n2 is cut off from anyone; the coordinator tells the check through a file."""
    monkeypatch.chdir(tmp_path)
    broken = tmp_path / "broken"

    def ends(spec: Any) -> Any:
        cut = any("n2" in task["spec"]["partitions"][0] for task in spec["tasks"])
        broken.touch() if cut else broken.unlink(missing_ok=True)
        return {}

    coordinate(daemon, ends)
    words = ["hunt", soak, "-t", daemon.target, "--check", f"test ! -e {broken}", "--repeats", "1", "--confirm", "2"]
    result = run(*words)
    assert result.code == 1
    assert result.out.startswith("schedule: seed 7, format version 1")
    assert "and failed 2 of 2 times" in result.out
    smallest = json.loads((tmp_path / "hunt-soak" / "smallest.json").read_text())
    (left,) = smallest["tasks"]
    assert left["spec"]["partitions"][0] == ["n2"]
    assert len(left["spec"]["partitions"][1]) == 1
    assert "trogdor replay hunt-soak/smallest.json --check" in result.out
    before = len(daemon.requests)
    assert run(*words).out.splitlines()[-1] == result.out.splitlines()[-1]
    assert not [line for line, _ in daemon.requests[before:] if "task/create" in line]


def test_hunt_needs_a_check_and_a_schedule_not_yet_drawn(run: Run, soak: str) -> None:
    result = run("hunt", soak, "-t", "127.0.0.1:1")
    assert result.code == 2
    assert "--check" in result.err
