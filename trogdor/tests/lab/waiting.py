"""What tests of whole processes need: polling until something is so, how a process is, a Python that starts."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import trogdor
from trogdor.client import Client
from trogdor.lab import Node, NodeProcess


def wait_until(is_so: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Return once `is_so()`; fail the test when it is not within a generous time."""
    until = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until, f"waited {timeout_s:g} s in vain"
        time.sleep(0.01)


def settled(state: str) -> str:
    """A process's letter of proc(5): S also where it has just gone on, and is about to sleep again."""
    return "S" if state == "R" else state


def state_of(node: Node, process: NodeProcess) -> str:
    """Whether a sleeping process on a node is stopped (T) or not (S)."""
    return settled(next(each.state for each in node.processes() if each.pid == process.pid))


def forget_all(client: Client) -> None:
    """Ends every task and forgets it: so that a test that is run again on the same lab may use its names again."""
    client.heal()
    for task_id in client.tasks():
        client.destroy_task(task_id)


def python_path() -> str:
    """A PYTHONPATH with which another Python imports the trogdor that this one tests."""
    return os.pathsep.join(filter(None, [str(Path(trogdor.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
