"""What recipes of clusters share: a process on each node, ready in time or told why not, killed at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import ClassVar, Self

from trogdor.lab.lab import Lab
from trogdor.lab.node import NodeProcess
from trogdor.lab.runtime import LabError

LOG_CHARACTERS = 2000
_POLL_S = 0.02


class Servers:
    """A cluster's servers, a process on each of the nodes; they are killed when the block is left."""

    system: ClassVar[str]
    """What messages call it."""

    log: ClassVar[str]
    """The name of its log on each node."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._processes: dict[str, NodeProcess] = {}

    @property
    def processes(self) -> dict[str, NodeProcess]:
        """The servers' processes by node."""
        return dict(self._processes)

    def _run(self, name: str, command: list[str], env: Mapping[str, str] | None = None) -> None:
        self._processes[name] = self._lab.node(name).popen(command, log=self.log, env=env)

    def _bring_up(
        self, names: Iterable[str], start: Callable[[str], None], is_ready: Callable[[str], bool], timeout_s: float
    ) -> None:
        """Starts a server on each node and waits until all are ready.

        Raises LabError with the end of the log of one that ends or is late; none is left then.
        """
        try:
            for name in names:
                start(name)
            self._await_ready(is_ready, timeout_s)
        except BaseException:
            self.close()
            raise

    def _await_ready(self, is_ready: Callable[[str], bool], timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        for name, process in self._processes.items():
            while (ended := process.poll() is not None) or not is_ready(name):
                if ended or time.monotonic() > until:
                    what = f"ended with {process.returncode}" if ended else "is not ready"
                    log = self._lab.node(name).log(self.log)[-LOG_CHARACTERS:]
                    raise LabError(f"{self.system} on {name} {what}:\n{log}")
                time.sleep(_POLL_S)

    def close(self) -> None:
        """Kill every server."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()
