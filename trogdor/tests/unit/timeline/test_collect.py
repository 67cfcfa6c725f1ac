"""What a timeline makes of the coordinator's tasks and events, and of a schedule not yet run."""

from typing import Any

from trogdor.spec import parse
from trogdor.spec.schedule import FixedScheduleSpec
from trogdor.timeline.collect import of_schedule, of_tasks, topology_of_names

TOPOLOGY = topology_of_names(["n1", "n2", "n3"])
PAUSE = {"class": "trogdor.fault.ProcessPauseFaultSpec", "nodeNames": ["n1"], "match": {"name": "etcd"}}


def status(verdict: str, **times: float) -> dict[str, Any]:
    return {"text": "", "verdict": verdict, "askedStartMs": 1000.0, "askedEndMs": 3000.0, "undoneBy": None, **times}


def task(spec: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"state": "DONE", "spec": {**spec, "startMs": 1000, "durationMs": 2000}, **fields}


def test_a_fault_on_two_nodes_is_two_bars_each_with_its_own_verdict() -> None:
    both = task(
        PAUSE | {"nodeNames": ["n1", "n2"]},
        startedMs=1001,
        doneMs=3002,
        error="did not take",
        status={
            "n1": status("seen", seenStartMs=1000.6, seenEndMs=3000.4),
            "n2": status("not seen: it still ran"),
        },
    )
    one, two = of_tasks({"t": both}, [], TOPOLOGY).bars
    assert (one.node, one.outcome, one.start_ms, one.end_ms) == ("n1", "seen", 1000.6, 3000.4)
    assert (two.node, two.outcome, two.start_ms, two.note) == ("n2", "not seen", None, "it still ran")


def test_a_fault_whose_end_another_fault_hid_ends_with_its_task() -> None:
    hidden = task(PAUSE, startedMs=1001, doneMs=3010, status=status("seen", seenStartMs=1001.0))
    (bar,) = of_tasks({"t": hidden}, [], TOPOLOGY, now_ms=90_000).bars
    assert (bar.end_ms, bar.seen_gone) == (3010, False)
    going = {**hidden, "state": "RUNNING"}
    (bar,) = of_tasks({"t": going}, [], TOPOLOGY, now_ms=90_000).bars
    assert bar.end_ms is None


def test_a_composite_is_drawn_as_its_children() -> None:
    schedule = {"class": "trogdor.schedule.FixedScheduleSpec", "tasks": []}
    child = task(PAUSE, startedMs=1001, doneMs=3000, status=status("seen", seenStartMs=1001.0, seenEndMs=3000.0))
    bars = of_tasks({"s": task(schedule, status={"children": {"s/1": child, "s/2": child}})}, [], TOPOLOGY).bars
    assert [(bar.task, bar.what) for bar in bars] == [("s/1", "ProcessPause"), ("s/2", "ProcessPause")]


def test_a_task_without_a_verdict_is_told_by_its_state_and_error() -> None:
    noop = {"class": "NoOpTaskSpec"}
    tasks = {
        "a": task(noop, state="PENDING", status=None),
        "b": task(noop, state="RUNNING", startedMs=1005, status="active"),
        "c": task(noop, startedMs=1005, doneMs=3000, status="done"),
        "d": task(noop, startedMs=1005, doneMs=1010, status="x", error="boom"),
    }
    found = {bar.task: (bar.outcome, bar.start_ms, bar.end_ms, bar.note) for bar in of_tasks(tasks, [], TOPOLOGY).bars}
    assert found == {
        "a": ("planned", None, None, ""),
        "b": ("running", 1005, None, ""),
        "c": ("done", 1005, 3000, ""),
        "d": ("failed", 1005, 1010, "boom"),
    }


def test_a_spec_of_a_class_unknown_here_is_left_out_not_fatal() -> None:
    assert of_tasks({"x": task({"class": "com.example.Custom"})}, [], TOPOLOGY).bars == ()


def test_users_marks_and_failed_checks_are_kept_and_those_of_other_tasks_are_not() -> None:
    events = [
        {"seq": 1, "atMs": 10, "type": "mark", "text": "deploy"},
        {"seq": 2, "atMs": 20, "type": "mark", "text": "check failed: lost a write", "taskId": "t/3"},
        {"seq": 3, "atMs": 30, "type": "mark", "text": "elsewhere", "taskId": "other"},
    ]
    marks = of_tasks({"t": task(PAUSE)}, events, TOPOLOGY).marks
    assert [(mark.text, mark.bad) for mark in marks] == [("deploy", False), ("check failed: lost a write", True)]


def test_rates_are_the_counters_differences() -> None:
    events = [
        {"atMs": at, "type": "status", "taskId": "t", "node": "n1", "status": {"totalSent": sent}}
        for at, sent in ((1000, 0), (2000, 500), (4000, 2500))
    ]
    (rate,) = of_tasks({"t": task(PAUSE)}, events, TOPOLOGY).rates
    assert rate.name == "t n1"
    assert rate.points == ((2000, 500), (4000, 1000))


def test_a_schedule_not_yet_run_counts_from_its_start() -> None:
    spec = parse(
        {
            "class": "FixedScheduleSpec",
            "durationMs": 9000,
            "seed": 7,
            "tasks": [{"atMs": 1000, "durationMs": 2000, "spec": PAUSE | {"nodeNames": ["n1", "n3"]}}],
        }
    )
    assert isinstance(spec, FixedScheduleSpec)
    timeline = of_schedule(spec, TOPOLOGY)
    assert timeline.relative
    assert "seed 7" in timeline.title
    assert [(bar.node, bar.asked_start_ms, bar.outcome) for bar in timeline.bars] == [
        ("n1", 1000, "planned"),
        ("n3", 1000, "planned"),
    ]
