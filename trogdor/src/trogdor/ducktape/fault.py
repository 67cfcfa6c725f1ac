"""One fault around a block of a test: the block begins when the fault is seen, and ends when it is seen gone."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from trogdor.client import Client, ClientError

LONGEST_MS = 600_000
POLL_S = 0.02


class FaultDidNotTake(AssertionError):
    """The fault was not seen: nothing that the test finds out would mean anything."""


class FaultRemained(AssertionError):
    """The fault was to end and was not seen to: what follows would run under it."""


def statuses(task: Mapping[str, Any], nodes: list[str]) -> dict[str, dict[str, Any]]:
    """Node → the fault's status there: for one node a task's status is that node's, for many a map by node."""
    status = task.get("status")
    by_node = {nodes[0]: status} if len(nodes) == 1 else status
    if not isinstance(by_node, dict):
        return {}
    return {node: value for node, value in by_node.items() if isinstance(value, dict) and "verdict" in value}


@contextmanager
def fault(
    client: Client, spec: Mapping[str, Any], *, name: str = "fault", timeout_sec: float = 60, unverified: bool = False
) -> Iterator[str]:
    """Enters, with the task's id, when every node of the fault has seen it; leaves when each has seen it gone.

    Raises Refused, with every problem, when the spec is wrong; FaultDidNotTake, FaultRemained after ``timeout_sec`` of
    waiting each. The block's own exception is never hidden. ``unverified``: a fault that nothing can see will do.
    If this process dies, the fault ends within 5 s.
    """
    task_id = f"{name}-{secrets.token_hex(4)}"
    wanted = {"startMs": 0, "durationMs": LONGEST_MS, **spec}
    nodes = list(client.check(task_id, wanted)["nodes"])
    with client.lease() as lease:
        client.create_task(task_id, wanted, lease)
        try:
            _await_taken(client, task_id, nodes, timeout_sec, unverified)
            yield task_id
        except BaseException as error:
            with _noted_in(error):
                _end(client, task_id, nodes, timeout_sec)
            raise
        _end(client, task_id, nodes, timeout_sec)


@contextmanager
def _noted_in(error: BaseException) -> Iterator[None]:
    """What goes wrong within is told by a note of ``error``."""
    try:
        yield
    except (ClientError, FaultRemained) as another:
        error.add_note(str(another))


def _await_taken(client: Client, task_id: str, nodes: list[str], timeout_sec: float, unverified: bool) -> None:
    accepted = ("seen", "unverified") if unverified else ("seen",)

    def is_decided(task: Mapping[str, Any]) -> bool:
        found = statuses(task, nodes)
        return found.keys() >= set(nodes) and all(value["verdict"] != "armed" for value in found.values())

    task = _wait(client, task_id, is_decided, timeout_sec)
    found = statuses(task, nodes)
    missed = [node for node in nodes if _outcome(found.get(node)) not in accepted]
    if missed or task.get("error") or not nodes:
        raise FaultDidNotTake(_told(task_id, "did not take", task, found, nodes))


def _outcome(status: Mapping[str, Any] | None) -> str:
    return str(status["verdict"]).partition(":")[0] if status else "nothing"


def _end(client: Client, task_id: str, nodes: list[str], timeout_sec: float) -> None:
    client.stop_task(task_id)
    task = _wait(client, task_id, lambda task: False, timeout_sec)
    found = statuses(task, nodes)
    remains = [
        status
        for status in found.values()
        if status.get("seenStartMs") is not None
        and status.get("seenEndMs") is None
        and status.get("undoneBy") != "gone"
    ]
    if remains or task["state"] != "DONE":
        raise FaultRemained(_told(task_id, "remained", task, found, nodes))


def _wait(
    client: Client, task_id: str, until: Callable[[Mapping[str, Any]], bool], timeout_sec: float
) -> Mapping[str, Any]:
    """The task when it is so, or DONE, or after ``timeout_sec``."""
    end = time.monotonic() + timeout_sec
    while True:
        task = client.task(task_id)
        if task["state"] == "DONE" or until(task) or time.monotonic() > end:
            return task
        time.sleep(POLL_S)


def _told(
    task_id: str, what: str, task: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]], nodes: list[str]
) -> str:
    lines = [f"{node}: {found[node]['verdict'] if node in found else 'no status'}" for node in nodes]
    return "\n  ".join([f"{task_id} {what}; it is {task['state']} {task.get('error') or ''}".rstrip(), *lines])
