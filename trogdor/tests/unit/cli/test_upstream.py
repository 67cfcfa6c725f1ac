"""``client`` and ``agent-client`` print what Java Trogdor 4.1.0's clients were recorded to print, to the letter."""

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from trogdor.cli.upstream import date_string, duration_string, grid, pretty_json
from unit.cli.support import Daemon, Run

NOOP = "org.apache.kafka.trogdor.task.NoOpTaskSpec"
UPTIME = {"serverStartMs": 1795406439278, "nowMs": 1795406442122}
RUNNING = {
    "state": "RUNNING",
    "spec": {"class": NOOP, "startMs": 1795406443401, "durationMs": 60000},
    "startedMs": 1795406443403,
    "status": "active",
}
PENDING = {
    "state": "PENDING",
    "spec": {"class": NOOP, "startMs": 9999999999999, "durationMs": 5000},
    "status": None,
}
CANCELLED = {**RUNNING, "state": "DONE", "doneMs": 1795406448665, "cancelled": True}


def test_status_and_uptime(run: Run, daemon: Daemon) -> None:
    daemon.answers["GET /coordinator/status"] = (200, {"serverStartMs": 1795406439278})
    daemon.answers["GET /coordinator/uptime"] = (200, UPTIME)
    assert run("client", "status", "-t", daemon.target).out == (
        f"Coordinator is running at {daemon.target}.\n\tStart time: 2026-11-23T04:00:39.278Z\n"
    )
    assert run("client", "uptime", "--target", daemon.target).out == (
        f"Coordinator is running at {daemon.target}.\n"
        "\tStart time: 2026-11-23T04:00:39.278Z\n"
        "\tCurrent server time: 2026-11-23T04:00:42.122Z\n"
        "\tUptime: 2s\n"
    )
    assert run("client", "uptime", "-t", daemon.target, "--json").out == (
        '{"serverStartMs":1795406439278,"nowMs":1795406442122}\n'
    )


def test_show_tasks(run: Run, daemon: Daemon) -> None:
    daemon.answers["GET /coordinator/tasks"] = (200, {"tasks": {"a2": PENDING, "a1": RUNNING}})
    daemon.answers["GET /coordinator/tasks?state=RUNNING"] = (200, {"tasks": {"a1": RUNNING}})
    daemon.answers["GET /coordinator/tasks?taskId=a1&taskId=b"] = (200, {"tasks": {"a1": RUNNING}})
    both = run("client", "showTasks", "-t", daemon.target)
    header = f"ID TYPE{' ' * 39}STATE   INFO{' ' * 49}"
    running = f"a1 {NOOP} RUNNING Started 2026-11-23T04:00:43.403Z; will stop after 1m "
    pending = f"a2 {NOOP} PENDING Will start at 2286-11-20T17:46:39.999Z{' ' * 15}"
    assert (both.code, both.out) == (0, f"{header}\n{running}\n{pending}\n\n")
    for filters in (["--state", "RUNNING"], ["-i", "a1", "-i", "b"], ["--id-pattern", ".1"]):
        shown = run("client", "showTasks", "-t", daemon.target, *filters)
        assert (shown.code, shown.out) == (0, f"{header}\n{running}\n\n")


def test_no_matching_tasks(run: Run, daemon: Daemon) -> None:
    daemon.answers["GET /coordinator/tasks"] = (200, {"tasks": {"a1": RUNNING}})
    shown = run("client", "showTasks", "-t", daemon.target, "--id-pattern", "a")
    assert (shown.code, shown.out) == (1, "No matching tasks found.\n")
    shown = run("client", "showTasks", "-t", daemon.target, "--id-pattern", "a", "--json")
    assert (shown.code, shown.out) == (1, "{}\n")
    shown = run("client", "showTasks", "-t", daemon.target, "--id-pattern", "(")
    assert (shown.code, shown.out) == (1, "Invalid task ID regular expression (\n")
    shown = run("client", "showTasks", "-t", daemon.target, "--id-pattern", "a", "--id", "a")
    assert shown.code == 1
    assert "--id-pattern" in shown.err


def test_show_task(run: Run, daemon: Daemon) -> None:
    daemon.answers["GET /coordinator/tasks/a1"] = (200, RUNNING)
    line = f"Task a1 of type {NOOP} is RUNNING. Started 2026-11-23T04:00:43.403Z; will stop after 1m\n"
    assert run("client", "showTask", "-t", daemon.target, "-i", "a1").out == line
    assert run("client", "showTask", "-t", daemon.target, "-i", "a1", "-v", "-S").out == (
        f'{line}Spec: {{\n  "class" : "{NOOP}",\n  "startMs" : 1795406443401,\n  "durationMs" : 60000\n}}\n\n'
        'Status: "active"\n\n'
    )
    assert json.loads(run("client", "showTask", "-t", daemon.target, "-i", "a1", "--json").out) == RUNNING
    missing = run("client", "showTask", "-t", daemon.target, "-i", "nope")
    assert (missing.code, missing.out) == (1, "Task nope was not found.\n")


@pytest.mark.parametrize(
    ("task", "shown"),
    [
        (CANCELLED, "DONE. CANCELLED at 2026-11-23T04:00:48.665Z after 5s\n"),
        ({**CANCELLED, "cancelled": False}, "DONE. FINISHED at 2026-11-23T04:00:48.665Z after 5s\n"),
        ({**CANCELLED, "error": "boom"}, "DONE. FAILED at 2026-11-23T04:00:48.665Z after 5s\nError: boom\n"),
        ({**RUNNING, "state": "STOPPING"}, "STOPPING. Started 2026-11-23T04:00:43.403Z\n"),
    ],
)
def test_how_a_task_ended(run: Run, daemon: Daemon, task: dict[str, Any], shown: str) -> None:
    daemon.answers["GET /coordinator/tasks/a1"] = (200, task)
    assert run("client", "showTask", "-t", daemon.target, "-i", "a1").out == f"Task a1 of type {NOOP} is {shown}"


def test_create_task_from_text_and_file(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    spec = {"class": NOOP, "startMs": 0, "durationMs": 60000}
    daemon.answers["POST /coordinator/task/create"] = (200, {})
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    for argument in (json.dumps(spec), str(tmp_path / "spec.json")):
        sent = run("client", "createTask", "-t", daemon.target, "-i", "a1", "--spec", argument)
        assert (sent.code, sent.out) == (0, "Sent CreateTaskRequest for task a1.\n")
        assert daemon.requests.pop() == ("POST /coordinator/task/create", {"id": "a1", "spec": spec})
    assert not daemon.requests, "upstream's client sends nothing else"


def test_create_task_conflict(run: Run, daemon: Daemon) -> None:
    message = "Task ID a1 already exists, and has a different spec {}"
    daemon.answers["POST /coordinator/task/create"] = (409, {"code": 409, "message": message})
    sent = run("client", "createTask", "-t", daemon.target, "-i", "a1", "--spec", "{}")
    assert (sent.code, sent.out) == (
        1,
        "CreateTaskRequest for task a1 got a 409 status code - a task with the same ID but a different "
        f"specification already exists.\nException: {message}\n",
    )


def test_an_unknown_class_and_bad_json_end_with_1(run: Run, daemon: Daemon) -> None:
    message = "Could not resolve type id 'no.such' as a subtype of `org.apache.kafka.trogdor.task.TaskSpec`"
    daemon.answers["POST /coordinator/task/create"] = (501, {"code": 501, "message": message})
    sent = run("client", "createTask", "-t", daemon.target, "-i", "bad", "--spec", '{"class":"no.such"}')
    assert (sent.code, sent.out) == (1, "")
    assert message in sent.err
    for spec in ("{bad", "/no/such/file", "{}x"):
        sent = run("client", "createTask", "-t", daemon.target, "-i", "bad", "--spec", spec)
        assert (sent.code, sent.out) == (1, "")
        assert len(sent.err.splitlines()) == 1


def test_stop_destroy_shutdown(run: Run, daemon: Daemon) -> None:
    daemon.answers["PUT /coordinator/task/stop"] = (200, {})
    daemon.answers["DELETE /coordinator/tasks?taskId=a1"] = (200, {})
    daemon.answers["PUT /coordinator/shutdown"] = (200, {})
    assert run("client", "stopTask", "-t", daemon.target, "-i", "a1").out == "Sent StopTaskRequest for task a1.\n"
    assert run("client", "destroyTask", "-t", daemon.target, "-i", "a1").out == "Sent DestroyTaskRequest for task a1.\n"
    assert run("client", "shutdown", "-t", daemon.target).out == "Sent ShutdownRequest.\n"


def test_agent_status(run: Run, daemon: Daemon) -> None:
    worker = {"state": "DONE", "taskId": "a1", "spec": {"class": NOOP}, "startedMs": 1, "doneMs": 2, "status": "done"}
    daemon.answers["GET /agent/status"] = (
        200,
        {"serverStartMs": 1795406439390, "workers": {"222871402932150328": worker}},
    )
    assert run("agent-client", "status", "-t", daemon.target).out == (
        f"Agent is running at {daemon.target}.\n"
        "\tStart time: 2026-11-23T04:00:39.39Z\n"
        "WORKER_ID          TASK_ID STATE      TASK_TYPE                                  \n"
        "222871402932150328 a1      WorkerDone org.apache.kafka.trogdor.task.NoOpTaskSpec \n"
    )


def test_agent_uptime(run: Run, daemon: Daemon) -> None:
    daemon.answers["GET /agent/uptime"] = (200, {"serverStartMs": 1795406439390, "nowMs": 1795406450740})
    assert run("agent-client", "uptime", "-t", daemon.target).out == (
        f"Agent is running at {daemon.target}.\n"
        "\tStart time: 2026-11-23T04:00:39.39Z\n"
        "\tCurrent server time: 2026-11-23T04:00:50.74Z\n"
        "\tUptime: 11s\n"
    )


def test_worker_commands_that_never_worked_upstream(run: Run, daemon: Daemon) -> None:
    daemon.answers["POST /agent/worker/create"] = daemon.answers["PUT /agent/worker/stop"] = (200, {})
    daemon.answers["DELETE /agent/worker?workerId=7"] = daemon.answers["PUT /agent/shutdown"] = (200, {})
    spec = '{"class":"NoOpTaskSpec"}'
    at = ("-t", daemon.target)
    sent = run("agent-client", "createWorker", *at, "--workerId", "7", "--taskId", "w", "--spec", spec)
    assert (sent.code, sent.out) == (0, "Sent CreateWorkerRequest for worker 7.\n")
    assert daemon.requests[-1][1] == {"workerId": 7, "taskId": "w", "spec": {"class": "NoOpTaskSpec"}}
    assert run("agent-client", "stopWorker", *at, "--workerId", "7").out == "Sent StopWorkerRequest for worker 7.\n"
    assert daemon.requests[-1][1] == {"workerId": 7}
    destroyed = run("agent-client", "destroyWorker", *at, "--workerId", "7")
    assert destroyed.out == "Sent DestroyWorkerRequest for worker 7.\n"
    assert run("agent-client", "shutdown", *at).out == "Sent ShutdownRequest.\n"


@pytest.mark.parametrize("client", ["client", "agent-client"])
@pytest.mark.parametrize("args", [[], ["status"], ["bogus"], ["status", "-t", "nonsense"], ["status", "--bogus"]])
def test_bad_usage_ends_with_1_as_upstream(run: Run, client: str, args: list[str]) -> None:
    done = run(client, *args)
    assert done.code == 1
    assert done.err


@pytest.mark.parametrize("client", ["client", "agent-client"])
def test_nobody_there_ends_with_1(run: Run, client: str) -> None:
    done = run(client, "status", "-t", "127.0.0.1:1")
    assert (done.code, done.out) == (1, "")
    assert "127.0.0.1:1" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("at_ms", "shown"),
    [(0, "1970-01-01T00:00:00Z"), (-1, "1969-12-31T23:59:59.999Z"), (1500, "1970-01-01T00:00:01.5Z")],
)
def test_dates(at_ms: int, shown: str) -> None:
    assert date_string(at_ms, timedelta()) == shown


def test_dates_in_other_zones_and_beyond_the_calendar(monkeypatch: pytest.MonkeyPatch) -> None:
    assert date_string(0, timedelta(hours=-3, minutes=-30)) == "1969-12-31T20:30:00-03:30"
    assert date_string(10**18, timedelta()) == f"{10**18} ms"
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    assert date_string(0) == "1970-01-01T05:30:00+05:30"
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize(
    ("period_ms", "shown"),
    [(0, "0s"), (999, "0s"), (60_000, "1m"), (61_000, "1m1s"), (3_600_000, "1h"), (3_661_000, "1h1m1s")],
)
def test_durations(period_ms: int, shown: str) -> None:
    assert duration_string(period_ms) == shown


def test_pretty_json_is_jacksons() -> None:
    value = {"a": [], "b": {}, "c": [1, "x"], "d": [{"e": None}, {"f": True}], "g": "é"}
    assert pretty_json(value) == (
        '{\n  "a" : [ ],\n  "b" : { },\n  "c" : [ 1, "x" ],\n  "d" : [ {\n    "e" : null\n  }, {\n'
        '    "f" : true\n  } ],\n  "g" : "é"\n}'
    )


def test_a_grid_pads_every_column() -> None:
    assert grid([("A", "BB"), ("long", "b")]) == "A    BB \nlong b  \n"
