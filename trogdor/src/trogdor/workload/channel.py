"""The external command's side of ExternalCommand: one JSON line in, JSON lines out, SIGTERM to stop."""

import gc
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from trogdor.spec import Spec, parse

REPORT_INTERVAL_S = 1.0
MAX_LOG_CHARACTERS = 10_000
COLLECTED_EVERY = 100_000
"""So many objects are made between two looks for cycles, of which messages are in none."""


class Channel:
    """What a workload says to the agent that started it. Every method may be called from any thread."""

    def __init__(self, task_id: str, out: IO[str]) -> None:
        self.task_id = task_id
        self.stop = threading.Event()
        self._out = out
        self._lock = threading.Lock()

    def status(self, value: Any) -> None:
        """Replaces the worker's status."""
        self._write({"status": value})

    def log(self, text: str) -> None:
        """Has the agent log a line."""
        self._write({"log": text[:MAX_LOG_CHARACTERS]})

    def error(self, text: str) -> None:
        """Sets the worker's error; the agent then ends this process."""
        self._write({"error": text[:MAX_LOG_CHARACTERS]})

    def _write(self, message: dict[str, Any]) -> None:
        line = json.dumps(message, separators=(",", ":")) + "\n"
        with self._lock:
            try:
                self._out.write(line)
                self._out.flush()
            except (BrokenPipeError, ValueError):
                self.stop.set()

    @contextmanager
    def reporting(self, status: Callable[[], Any], interval_s: float = REPORT_INTERVAL_S) -> Iterator[None]:
        """Reports ``status()`` every so often while the block runs, and once when it is left, however it is left.

        Sets ``stop`` when the agent has gone.
        """
        done, agent = threading.Event(), os.getppid()

        def report() -> None:
            while not done.wait(interval_s):
                self.status(status())
                if os.getppid() != agent:
                    self.stop.set()

        thread = threading.Thread(target=report, name="reporting", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self.status(status())


def run(workload: Callable[[Any, Channel], None]) -> None:
    """Runs one workload as a process: reads its spec from standard input, and reports what it says and why it ends."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not be read as a message
    channel = Channel("", out)
    gc.freeze()
    gc.set_threshold(COLLECTED_EVERY)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: channel.stop.set())
    try:
        task_id, spec = read_task(sys.stdin.readline())
        channel.task_id = task_id
        workload(spec, channel)
    except Exception as failure:
        channel.error(str(failure) or type(failure).__name__)


def read_task(line: str) -> tuple[str, Spec]:
    """Task id and spec of the line ``{"id": …, "workload": spec}``. Raises ValueError or SpecError."""
    message = json.loads(line)
    return str(message["id"]), parse(message["workload"])
