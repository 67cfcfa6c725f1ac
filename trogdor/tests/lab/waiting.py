"""Polling until something is so."""

import time
from collections.abc import Callable


def wait_until(is_so: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Return once `is_so()`; fail the test when it is not within a generous time."""
    until = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until, f"waited {timeout_s:g} s in vain"
        time.sleep(0.01)
