"""One schedule run against a coordinator, with the user's check during and after it."""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from trogdor.hunt.check import FAILED, Check, nothing

if TYPE_CHECKING:
    from trogdor.client import Client, Lease, Task

POLL_S = 0.05
MOST_POLL_S = 0.5
HEAL_DEADLINE_S = 30.0
NO_REASON = "no reason given"


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``failed`` is the check's word; ``void``: the faults did not take, so that it says nothing."""

    result: Literal["passed", "failed", "void"]
    why: str = ""
    task_id: str = ""


def run_schedule(
    client: "Client",
    task_id: str,
    spec: Mapping[str, Any],
    *,
    check: Check = nothing,
    every_ms: int = 0,
    lease: "Lease | None" = None,
    seen: "Callable[[Task], None]" = lambda task: None,
) -> Outcome:
    """Runs a schedule as a task, with the check each ``every_ms`` while it runs (0: only after it).

    When the check fails, all faults are ended at once, and the timeline gets a mark. ``seen`` is shown the task as it
    changes. Raises ClientError.
    """
    client.create_task(task_id, spec, lease)
    task, why = _watch(client, task_id, check, every_ms / 1000, seen)
    if not why:
        verdict = check()
        why = "" if verdict.ok else verdict.why or NO_REASON
    if why:
        client.mark(f"{FAILED}{why}")
        if task["state"] != "DONE":
            client.stop_task(task_id)
            seen(client.wait_for_done(task_id, HEAL_DEADLINE_S))
        return Outcome("failed", why, task_id)
    error = str(task.get("error") or "")
    if error.startswith(FAILED):  # by the schedule's own check, which the coordinator runs
        return Outcome("failed", error.removeprefix(FAILED), task_id)
    return Outcome("void", error, task_id) if error else Outcome("passed", "", task_id)


def _watch(
    client: "Client", task_id: str, check: Check, every_s: float, seen: "Callable[[Task], None]"
) -> "tuple[Task, str]":
    """Until it is done and its quiet time over, or a check fails: the task, and the check's words or nothing."""
    next_check = time.monotonic() + every_s
    pause_s = POLL_S
    while True:
        task = client.task(task_id)
        seen(task)
        if task["state"] == "DONE" and (task.get("error") or _is_over(client, task)):
            return task, ""
        if every_s and task["state"] != "PENDING" and time.monotonic() >= next_check:
            verdict = check()
            if not verdict.ok:
                return task, verdict.why or NO_REASON
            next_check = max(next_check + every_s, time.monotonic())
        time.sleep(min(pause_s, every_s or pause_s))
        pause_s = min(pause_s * 1.2, MOST_POLL_S)


def _is_over(client: "Client", task: "Task") -> bool:
    """Whether the schedule's time is over: it is DONE with its last fault, and quiet for a while after that."""
    spec = task["spec"]
    return bool(task.get("cancelled")) or client.uptime()["nowMs"] >= spec["startMs"] + spec["durationMs"]


def forget(client: "Client", task_id: str) -> None:
    """Destroys a task that is of no further interest, if the coordinator answers."""
    from trogdor.client import ClientError

    with contextlib.suppress(ClientError):
        client.destroy_task(task_id)
