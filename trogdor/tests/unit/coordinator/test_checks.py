"""A schedule's own check: run by the coordinator, which ends all faults at once when it fails."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from trogdor.client import Refused
from unit.coordinator.conftest import Cluster

LONG_MS = 600_000
NOOP = {"class": "NoOpTaskSpec"}


def schedule(*command: str, duration_ms: int = LONG_MS, **check: Any) -> dict[str, Any]:
    tasks = [{"atMs": 0, "durationMs": min(100, duration_ms), "spec": NOOP},
             {"atMs": 0, "durationMs": duration_ms, "spec": NOOP}]  # fmt: skip
    return {"class": "FixedScheduleSpec", "durationMs": duration_ms, "tasks": tasks,
            "check": {"command": command, "everyMs": 100, **check}}  # fmt: skip


def program(text: str) -> tuple[str, ...]:
    return sys.executable, "-c", text


async def test_a_failing_check_ends_every_child_at_once_and_is_a_mark_and_the_tasks_error(
    pair: Cluster, tmp_path: Path
) -> None:
    lost = tmp_path / "lost"
    check = program(f"import os, sys; os.path.exists({str(lost)!r}) and sys.exit('lost a write')")
    await pair.client.create_task("s", schedule(*check))
    await pair.in_state("s", "RUNNING")
    lost.touch()
    task = await pair.done("s")
    assert task["error"] == "check failed: exit code 1: lost a write"
    assert task["cancelled"] is False
    assert {child["state"] for child in (await pair.client.children("s")).values()} == {"DONE"}
    assert not any(held.state == "RUNNING" for agent in pair.agents.values() for held in agent.workers.values())
    marks = [event for event in await pair.client.events() if event["type"] == "mark"]
    assert [(mark["text"], mark["taskId"]) for mark in marks] == [(task["error"], "s")]


async def test_the_task_is_over_when_its_last_check_has_passed_after_the_last_fault(
    pair: Cluster, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    check = program(f"open({str(ran)!r}, 'a').write('.')")
    spec = schedule(*check, duration_ms=1500, everyMs=60_000)
    spec["tasks"].pop()
    await pair.client.create_task("s", spec)
    task = await pair.done("s")
    assert "error" not in task
    assert ran.read_text() == "."
    assert task["doneMs"] >= task["spec"]["startMs"] + 1500


async def test_a_check_that_hangs_or_cannot_be_started_has_failed(pair: Cluster) -> None:
    await pair.client.create_task("hangs", schedule(*program("import time; time.sleep(600)"), timeoutMs=300))
    assert (await pair.done("hangs"))["error"] == "check failed: no answer within 0.3 s"
    await pair.client.create_task("none", schedule("/no/such/program"))
    assert "check failed: /no/such/program: No such file" in (await pair.done("none"))["error"]


async def test_a_stopped_schedule_ends_its_check_with_all_that_it_started(pair: Cluster, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    text = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    await pair.client.create_task("s", schedule(*program(text)))
    await pair.until(lambda: pid_file.exists() and pid_file.read_text())
    await pair.client.stop_task("s")
    assert "error" not in await pair.done("s")
    pid = int(pid_file.read_text())
    await pair.until(lambda: not os.path.exists(f"/proc/{pid}"))


async def test_a_check_goes_on_after_a_restart_of_the_coordinator(pair: Cluster, tmp_path: Path) -> None:
    lost = tmp_path / "lost"
    spec = schedule(*program(f"import os, sys; sys.exit(os.path.exists({str(lost)!r}))"))
    spec["tasks"].pop(0)  # it might end while the coordinator is away
    await pair.client.create_task("s", spec)
    await pair.in_state("s", "RUNNING")
    await pair.crash()
    lost.touch()
    await pair.start()
    assert (await pair.done("s"))["error"].startswith("check failed: exit code 1")


@pytest.mark.parametrize("allowed", [None, '["/bin/true"]'])
async def test_a_program_that_the_configuration_does_not_list_is_refused(cluster: Cluster, allowed: str | None) -> None:
    cluster.settings = {"trogdor.external.commands": allowed} if allowed else {}
    await cluster.add("node0")
    await cluster.start()
    await cluster.met()
    found = await cluster.client.check("s", schedule("/bin/sh", "-c", "true"))
    assert [problem["path"] for problem in found["problems"]] == ["spec.check.command"]
    target = {"class": "TargetSpec", "command": ["/bin/sh"], "spec": NOOP}
    for spec in (schedule("/bin/sh", "-c", "true"), target):
        with pytest.raises(Refused, match="/bin/sh is not allowed on c"):
            await cluster.client.create_task("s", spec, check=False)
    assert await cluster.client.tasks() == {}
    if allowed:
        await cluster.client.create_task("ok", schedule("/bin/true", duration_ms=200))
        assert "error" not in await cluster.done("ok")
