"""What tests of whole processes need: polling until something is so, and an environment to start Python in."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import trogdor


def wait_until(is_so: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Return once `is_so()`; fail the test when it is not within a generous time."""
    until = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until, f"waited {timeout_s:g} s in vain"
        time.sleep(0.01)


def python_path() -> str:
    """A PYTHONPATH with which another Python imports the trogdor that this one tests."""
    return os.pathsep.join(filter(None, [str(Path(trogdor.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
