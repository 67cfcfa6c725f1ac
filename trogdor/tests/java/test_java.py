"""Java Trogdor 4.1.0 and ours on one wire: its clients drive our daemons, its daemons work with ours.

Java's clients refuse unknown fields, so that a field too many in an answer of ours shows here.
"""

import json
import subprocess
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from java.conftest import Daemons

pytestmark = [pytest.mark.java, pytest.mark.xdist_group("java")]

NOOP = {"class": "org.apache.kafka.trogdor.task.NoOpTaskSpec", "startMs": 0, "durationMs": 5000}
LONG = {**NOOP, "durationMs": 600_000}
DEADLINE_S = 120.0


def succeeded(ran: "subprocess.CompletedProcess[str]") -> str:
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_javas_coordinator_client_drives_our_coordinator(daemons: "Daemons") -> None:
    daemons.ours("agent")
    daemons.ours("coordinator")

    def client(command: str, *arguments: str) -> str:
        target = f"localhost:{daemons.coordinator_port}"
        return succeeded(daemons.run_java("coordinator.CoordinatorClient", command, "-t", target, *arguments))

    assert "Coordinator is running" in client("status")
    assert "Uptime" in client("uptime")
    assert "Sent CreateTaskRequest" in client("createTask", "-i", "t1", "--spec", json.dumps(NOOP))
    assert "Sent CreateTaskRequest" in client("createTask", "-i", "t2", "--spec", json.dumps(LONG))
    assert daemons.client.wait_for_done("t1", DEADLINE_S)["status"] == "done"
    shown = client("showTask", "-i", "t1", "-v", "-S")
    assert "is DONE. FINISHED" in shown
    assert '"done"' in shown
    listed = client("showTasks")
    assert "t1" in listed
    assert "RUNNING" in listed
    assert "Sent StopTaskRequest" in client("stopTask", "-i", "t2")
    daemons.client.wait_for_done("t2", DEADLINE_S)
    assert "CANCELLED" in client("showTask", "-i", "t2")
    assert "Sent DestroyTaskRequest" in client("destroyTask", "-i", "t2")
    assert list(daemons.client.tasks()) == ["t1"]
    client("shutdown")
    assert daemons.processes[-1].wait(DEADLINE_S) == 0


def test_javas_agent_client_drives_our_agent(daemons: "Daemons") -> None:
    daemons.ours("agent")
    target = f"localhost:{daemons.agent_port}"
    daemons.agent_client.create_worker(7, "t", {**LONG, "startMs": int(time.time() * 1000)})

    def client(command: str) -> str:
        return succeeded(daemons.run_java("agent.AgentClient", command, "-t", target))

    shown = client("status")
    assert "WorkerRunning" in shown
    assert "NoOpTaskSpec" in shown
    assert "Uptime" in client("uptime")
    client("shutdown")
    assert daemons.processes[0].wait(DEADLINE_S) == 0


def until(is_so: Callable[[], Any]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def stop_one_and_end_one(daemons: "Daemons") -> None:
    """The one that is stopped is first: it gives a virtual machine time to warm up."""
    client = daemons.client
    client.create_task("long", LONG)
    until(lambda: client.task("long").get("status") == "active")
    client.stop_task("long")
    assert client.wait_for_done("long", DEADLINE_S)["cancelled"] is True
    client.create_task("t", NOOP)
    task = client.wait_for_done("t", DEADLINE_S)
    assert task.get("error", "") == ""
    assert task["status"] == "done"


def test_a_java_agent_runs_tasks_of_our_coordinator(daemons: "Daemons") -> None:
    daemons.java("agent")
    daemons.ours("coordinator")
    stop_one_and_end_one(daemons)
    assert daemons.client.nodes()["node0"]["kind"] == "java"
    until(lambda: not daemons.agent_client.status().get("workers"))


def test_our_agent_runs_tasks_of_javas_coordinator(daemons: "Daemons") -> None:
    daemons.ours("agent")
    daemons.java("coordinator")
    stop_one_and_end_one(daemons)
