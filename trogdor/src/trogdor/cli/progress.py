"""Live progress of a task: what was asked beside what is seen, node by node."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from trogdor.cli.duration import now_ms, say_duration
from trogdor.cli.output import bad, clock, doubtful, good, on_terminal

if TYPE_CHECKING:
    from trogdor.client import Task
    from trogdor.wire.status import FaultStatus

CLEAR_LINE = "\r\033[K"


class Progress:
    """Prints a line for each change; on a terminal also a last line that counts down. Silent if not ``shown``."""

    def __init__(self, shown: bool = True) -> None:
        self._shown = shown
        self._said: set[tuple[str, str]] = set()
        self._counting = False
        self._last_status = ""

    def report(self, task: "Task", statuses: "Mapping[str, FaultStatus]") -> None:
        """Says what is new."""
        width = max((len(node) for node in statuses), default=0)
        for node, status in statuses.items():
            for key, line in self._changes(status):
                if (node, key) not in self._said:
                    self._said.add((node, key))
                    self.say(f"  {node.ljust(width)}  {line}")
        if not statuses and task.get("status") and str(task["status"]) != self._last_status:
            self._last_status = str(task["status"])
            self.say(f"  {self._last_status[:1000]}")
        self._count_down(task)

    def say(self, line: str) -> None:
        """Prints a line above the countdown."""
        if self._shown:
            print(f"{CLEAR_LINE if self._counting else ''}{line}", flush=True)
            self._counting = False

    def close(self) -> None:
        """Takes the countdown away."""
        if self._counting:
            print(CLEAR_LINE, end="", flush=True)
            self._counting = False

    def _changes(self, status: "FaultStatus") -> list[tuple[str, str]]:
        changes = []
        if status.outcome != "armed":
            changes.append((status.outcome, _say_start(status)))
        if status.seen_end_ms is not None:
            changes.append(("end", _say_end(status)))
        return changes

    def _count_down(self, task: "Task") -> None:
        if not (self._shown and on_terminal()):
            return
        spec = task["spec"]
        if task["state"] == "PENDING":
            line = f"starts in {_left(spec['startMs'])}"
        elif task["state"] == "RUNNING":
            line = f"{_left(spec['startMs'] + spec['durationMs'])} left; Ctrl-C heals"
        else:
            line = task["state"].lower()
        sys.stdout.write(f"{CLEAR_LINE}  … {line}")
        sys.stdout.flush()
        self._counting = True


def _left(until_ms: int) -> str:
    seconds = -(-max(0, until_ms - now_ms()) // 1000)
    return say_duration(seconds * 1000) if seconds else "0s"


def _say_start(status: "FaultStatus") -> str:
    targets = f"  {', '.join(status.targets)}" if status.targets else ""
    if status.outcome == "seen":
        if status.seen_start_ms is None:
            return good("seen") + targets
        return (
            good("seen") + f" {clock(status.seen_start_ms)}{_lag(status.asked_start_ms, status.seen_start_ms)}{targets}"
        )
    colour = bad if status.outcome == "not seen" else doubtful
    return colour(status.verdict) + targets


def _say_end(status: "FaultStatus") -> str:
    assert status.seen_end_ms is not None
    how = "" if status.undone_by == "stop" else _lag(status.asked_end_ms, status.seen_end_ms)
    by = f", undone by {status.undone_by}" if status.undone_by not in (None, "end", "stop") else ""
    return good("healed") + f" {clock(status.seen_end_ms)}{how}{by}"


def _lag(asked_ms: float | None, seen_ms: float) -> str:
    return "" if asked_ms is None else f" ({seen_ms - asked_ms:+.1f} ms)"
