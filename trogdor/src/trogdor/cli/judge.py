"""What a finished task amounts to: its exit code, and the words for it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trogdor.cli.duration import say_duration
from trogdor.cli.exits import ExitCode

if TYPE_CHECKING:
    from trogdor.client import Task
    from trogdor.wire.status import FaultStatus

LATE_MS = 1000
"""Healed later than this after the end asked for is exit 4."""

ITS_NODE = "its node"
"""Stands for the one node of a task where nobody has told its name."""

NO_PROCESS = "no process matched"
"""How an agent's verdict says that there was nothing to stop."""


def judge(
    task: "Task", statuses: "Mapping[str, FaultStatus]", *, interrupted: bool = False
) -> tuple[ExitCode, list[str]]:
    """The exit code of a task that is DONE, and what is to be said of it, worst first.

    What remained comes before what did not take: it is what the user must act on.
    """
    from trogdor.wire.status import NOT_UNDONE

    error = task.get("error")
    remained = [line for node, status in statuses.items() for line in _remains(node, status)]
    if error and NOT_UNDONE in error:
        remained += error.splitlines()
    if remained:
        return ExitCode.REMAINED, [*remained, "`trogdor faults` shows what is in force; `trogdor heal` ends it."]
    missed = [f"{node}: {status.verdict}" for node, status in statuses.items() if did_not_take(status)]
    if missed or error:
        is_fault = bool(statuses) or ".fault." in str(task["spec"].get("class"))
        code = ExitCode.NOT_TAKEN if is_fault else ExitCode.CHECK_FAILED
        return code, [*missed, *(error.splitlines() if error else [])]
    if interrupted:
        return ExitCode.INTERRUPTED, ["interrupted; healed" if statuses else "interrupted; stopped"]
    doubts = [f"{node}: {status.verdict}" for node, status in statuses.items() if status.outcome == "unverified"]
    if doubts:
        return ExitCode.OK, doubts
    ending = "stopped" if task.get("cancelled") else "done"
    return ExitCode.OK, ["took, and healed" if statuses else ending]


def statuses_of(task: "Task", nodes: Sequence[str] = ()) -> "dict[str, FaultStatus]":
    """Node → status of a fault; of a composite ``1 n2`` → status, by the number of its child. Empty for all else.

    ``nodes``: those it runs on, where they are known; a single one whose name is not is called ITS_NODE, and not named
    behind a child's number.
    """
    from trogdor.wire.status import read_statuses

    status: Any = task.get("status")
    if not is_composite(task):
        is_one_nodes = isinstance(status, dict) and "verdict" in status
        return read_statuses(status, list(nodes) or [ITS_NODE] * is_one_nodes)
    found = {}
    for child_id, child in status["children"].items():
        number = child_id.rpartition("/")[2]
        for node, each in statuses_of(child).items():
            found[number if node == ITS_NODE else f"{number} {node}"] = each
    return found


def is_composite(task: "Task") -> bool:
    """Whether a task is made of others, which its status shows."""
    status = task.get("status")
    return isinstance(status, dict) and "children" in status


def did_not_take(status: "FaultStatus") -> bool:
    """Whether the fault was looked for and not seen, or had nothing to act on."""
    return status.outcome == "not seen" or NO_PROCESS in status.verdict


def is_decided(status: "FaultStatus") -> bool:
    """Whether there is a verdict on whether the fault took."""
    return status.outcome != "armed"


def _remains(node: str, status: "FaultStatus") -> list[str]:
    if status.seen_start_ms is None or status.undone_by == "gone":
        return []
    if status.seen_end_ms is None:
        return [f"{node}: the fault was not seen to end"]
    late_ms = status.seen_end_ms - status.asked_end_ms if status.asked_end_ms is not None else 0
    return [f"{node}: healed {say_duration(late_ms)} late"] if late_ms > LATE_MS else []


def outcome_json(task_id: str, task: "Task", code: ExitCode, lines: list[str]) -> dict[str, Any]:
    """The outcome for programs."""
    return {"id": task_id, "exitCode": int(code), "summary": lines, "task": task}
