"""A hunt finds the seed that fails, shrinks it, survives being interrupted, and says when it proves nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trogdor.hunt.hunt import Found, Options, hunt
from trogdor.hunt.run import Outcome
from trogdor.hunt.state import HuntError, State, key_of
from trogdor.spec import parse
from trogdor.spec.schedule import FixedScheduleSpec, RandomScheduleSpec
from trogdor.timeline.collect import topology_of_names

TOPOLOGY = topology_of_names([f"n{number}" for number in range(1, 6)])
PASSED = Outcome("passed")


def schedule(**fields: Any) -> RandomScheduleSpec:
    pause = {"class": "ProcessPauseFaultSpec", "nodeNames": "$nodes", "match": {"name": "etcd"}}
    spec = parse({"class": "RandomScheduleSpec", "durationMs": 60_000, "atOnce": 3, "quietMs": 500, "seed": 10,
                  "nodes": {"count": 2}, "faults": [{"spec": pause}], **fields})  # fmt: skip
    assert isinstance(spec, RandomScheduleSpec)
    return spec


def struck(tasks: FixedScheduleSpec) -> set[str]:
    return {node for task in tasks.tasks for node in task.spec["nodeNames"]}


def planted(tasks: FixedScheduleSpec) -> Outcome:
    """A bug that shows when n2 and n4 are stopped at the same time for 200 ms; on some seeds only."""
    two = [task for task in tasks.tasks if "n2" in task.spec["nodeNames"]]
    four = [task for task in tasks.tasks if "n4" in task.spec["nodeNames"]]
    both = [(a, b) for a in two for b in four if min(a.end_ms, b.end_ms) - max(a.at_ms, b.at_ms) >= 200]
    return Outcome("failed", "lost a write") if both and (tasks.seed or 0) >= 12 else PASSED


def hunted(run: Callable[[FixedScheduleSpec], Outcome], where: Path, **options: Any) -> Found | None:
    return hunt(schedule(), TOPOLOGY, run, State(where, {"spec": schedule().to_json()}), options=Options(**options))


def test_it_finds_the_first_seed_that_fails_and_leaves_the_least_that_still_does(tmp_path: Path) -> None:
    found = hunted(planted, tmp_path)
    assert found is not None
    assert found.seed == 12
    assert (found.why, found.failed, found.runs) == ("lost a write", 5, 5)
    assert len(found.smallest.tasks) <= 2
    assert struck(found.smallest) == {"n2", "n4"}
    assert found.smallest.duration_ms < 2000


def test_what_it_leaves_on_disk_is_a_spec_that_can_be_replayed(tmp_path: Path) -> None:
    found = hunted(planted, tmp_path)
    assert found is not None
    kept = parse(json.loads((tmp_path / "smallest.json").read_text()))
    assert kept == found.smallest
    kept.check(TOPOLOGY)
    assert parse(json.loads((tmp_path / "failing.json").read_text())) == found.drawn


def test_a_hunt_interrupted_at_any_run_goes_on_and_finds_the_same(tmp_path: Path) -> None:
    whole = hunted(planted, tmp_path / "whole")
    total = len((tmp_path / "whole" / "runs.jsonl").read_text().splitlines())
    left = total

    def interrupted_every_seventh(tasks: FixedScheduleSpec) -> Outcome:
        nonlocal left
        left -= 1
        if left % 7 == 0:
            raise KeyboardInterrupt
        return planted(tasks)

    pieces = tmp_path / "pieces"
    for _ in range(total):
        try:
            found = hunted(interrupted_every_seventh, pieces)
            break
        except KeyboardInterrupt:
            with (pieces / "runs.jsonl").open("a") as torn:
                torn.write('{"schedule": "half a li')
    assert found == whole
    assert len((pieces / "runs.jsonl").read_text().splitlines()) == total


def test_a_failure_that_comes_and_goes_is_shrunk_all_the_same_and_its_rate_is_told(tmp_path: Path) -> None:
    runs = 0

    def flaky(tasks: FixedScheduleSpec) -> Outcome:
        nonlocal runs
        runs += 1
        return planted(tasks) if runs % 2 else PASSED

    found = hunted(flaky, tmp_path, repeats=3, confirm=6)
    assert found is not None
    assert len(found.smallest.tasks) <= 2
    assert (found.failed, found.runs) == (3, 6)


def test_a_schedule_that_failed_once_by_luck_is_not_what_is_left(tmp_path: Path) -> None:
    """Faults shorter than 300 ms fail the first time they are tried, and never again."""
    tried: set[str] = set()

    def lucky(tasks: FixedScheduleSpec) -> Outcome:
        short = any(task.duration_ms < 300 for task in tasks.tasks)
        again = short and key_of(tasks) in tried
        tried.add(key_of(tasks))
        return PASSED if again else planted(tasks)

    found = hunted(lucky, tmp_path, confirm=2)
    assert found is not None
    assert found.failed == 2
    assert min(task.duration_ms for task in found.smallest.tasks) >= 300
    assert len(found.smallest.tasks) <= 2


def test_a_failure_never_seen_again_leaves_the_schedule_drawn(tmp_path: Path) -> None:
    runs = iter([Outcome("failed", "lost a write")])
    found = hunted(lambda tasks: next(runs, PASSED), tmp_path)
    assert found is not None
    assert (found.smallest.tasks, found.why, found.failed) == (found.drawn.tasks, "lost a write", 0)


def test_when_runs_are_over_the_smallest_so_far_is_kept(tmp_path: Path) -> None:
    found = hunted(planted, tmp_path, max_runs=8)
    assert found is not None
    assert found.failed == 5
    assert len(found.smallest.tasks) < len(found.drawn.tasks)


def test_a_check_that_fails_without_faults_leaves_an_empty_schedule(tmp_path: Path) -> None:
    found = hunted(lambda tasks: Outcome("failed", "no service there"), tmp_path)
    assert found is not None
    assert found.smallest.tasks == ()


def test_no_failing_seed_is_no_finding(tmp_path: Path) -> None:
    tried: list[int | None] = []

    def passes(tasks: FixedScheduleSpec) -> Outcome:
        tried.append(tasks.seed)
        return PASSED

    assert hunted(passes, tmp_path, seeds=4) is None
    assert tried == [10, 11, 12, 13]


def test_faults_that_never_take_end_the_hunt_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(HuntError, match="no process matched"):
        hunted(lambda tasks: Outcome("void", "no process matched etcd"), tmp_path)


def test_the_state_of_another_hunt_is_refused(tmp_path: Path) -> None:
    State(tmp_path, {"check": "a"})
    with pytest.raises(HuntError, match="another hunt"):
        State(tmp_path, {"check": "b"})
