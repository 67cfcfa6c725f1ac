"""What tests of whole processes need: polling until something is so, a bare coordinator, a Python that starts."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import trogdor
from trogdor.client import Client


def wait_until(is_so: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Return once `is_so()`; fail the test when it is not within a generous time."""
    until = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until, f"waited {timeout_s:g} s in vain"
        time.sleep(0.01)


def forget_all(client: Client) -> None:
    """Ends every task and forgets it: so that a test that is run again on the same lab may use its names again."""
    client.heal()
    for task_id in client.tasks():
        client.destroy_task(task_id)


def python_path() -> str:
    """A PYTHONPATH with which another Python imports the trogdor that this one tests."""
    return os.pathsep.join(filter(None, [str(Path(trogdor.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
