"""A fault of Kafka, made through the lab's coordinator, while a block runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trogdor.lab.lab import Lab

from .conftest import until

FAULT_MS = 600_000
"""Longer than any test: each ends its fault itself."""


@contextmanager
def fault(lab: Lab, task_id: str, name: str, **fields: Any) -> Iterator[list[dict[str, Any]]]:
    """A fault of Kafka while the block runs: the specs of its children, once they are in force."""
    client = lab.client()
    client.create_task(task_id, {"class": name, "durationMs": FAULT_MS, **fields})

    def in_force() -> bool:
        task = client.task(task_id)
        assert not task.get("error"), task["error"]
        children = client.children(task_id).values()
        return bool(children) and all(_is_in_force(child.get("status")) for child in children)

    try:
        until(in_force, f"{name} is in force")
        yield [child["spec"] for child in client.children(task_id).values()]
    finally:
        client.stop_task(task_id)
        until(lambda: client.task(task_id)["state"] == "DONE", f"{name} is over")
    assert not client.task(task_id).get("error")


def _is_in_force(status: Any) -> bool:
    """Whether every node's probe has looked; what it cannot tell at this load, the cluster will."""
    if not isinstance(status, dict):
        return False
    if "verdict" in status:
        return str(status["verdict"]).startswith(("seen", "unverified"))
    return bool(status) and all(map(_is_in_force, status.values()))
