"""The ``kibosh`` fixture: directories of a lab's nodes, served by Kibosh, so that their disk can fail."""

import importlib.util
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trogdor.lab import LabError
from trogdor.lab.node import Node

READY_TIMEOUT_S = 60.0
END_TIMEOUT_S = 30.0
LOG = "kibosh"
_POLL_S = 0.02


@dataclass(frozen=True)
class Disk:
    """A directory of a node under Kibosh. As text it is its path."""

    node: str
    path: str

    def __str__(self) -> str:
        return self.path


@contextmanager
def mounted(node: Node, path: str) -> Iterator[Disk]:
    """Serves a directory of the node's at ``path``, below /mnt, while the block runs; its files are kept beside it.

    Raises ValueError if ``path`` is not in a directory of the node's own; LabError that says what is missing, or with
    Kibosh's log.
    """
    node.path(path)
    found = importlib.util.find_spec("kibosh")
    if found is None or found.origin is None:
        raise LabError("there is no Kibosh in this Python: pip install kibosh, or in a checkout make -C kibosh build")
    target = f"{path}.kept"
    node.exec(["mkdir", "-p", path, target], check=True)
    command = [sys.executable, "-m", "kibosh", path, "--target", target, "--foreground", "--allow-other"]
    daemon = node.popen(command, log=LOG, env={"PYTHONPATH": str(Path(found.origin).parents[1])})
    try:
        until = time.monotonic() + READY_TIMEOUT_S
        while node.exec(["test", "-e", f"{path}/kibosh_control"]).returncode:
            if daemon.poll() is not None or time.monotonic() > until:
                raise LabError(f"Kibosh is not mounted at {path} on {node.name}:\n{node.log(LOG)[-2000:]}")
            time.sleep(_POLL_S)
        yield Disk(node.name, path)
    finally:
        daemon.terminate()
        daemon.wait(END_TIMEOUT_S)
        daemon.close()
