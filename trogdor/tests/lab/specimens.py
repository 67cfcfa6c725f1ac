"""One thing of each kind of resource, for the tests that every kind must pass. They run inside a lab node.

A new kind needs a specimen here, and nothing else to be killed at every point of its way.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from lab.groups import control_group
from trogdor.claim.place import Place
from trogdor.platform.linux import processes
from trogdor.platform.linux.cut import key_of
from trogdor.platform.linux.kibosh import CONTROL_FILE
from trogdor.platform.linux.kill import key_of as key_to_kill

Specimen = tuple[str, Any, Any]
"""A key, and what two workers want of it at once."""


@contextmanager
def _cut() -> Iterator[Specimen]:
    shape = {"hook": "in", "local": [], "protocol": "any", "ports": [], "connections": "all", "action": "drop"}
    one, other = ({**shape, "exempt": [], "addresses": addresses} for addresses in (["10.7.0.0/16"], ["10.7.1.1"]))
    yield key_of(one), one, other


@contextmanager
def sleeping() -> Iterator[str]:
    """A process that does nothing; its key."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            seen = processes.read(process.pid)
            assert seen is not None
            yield seen.key
        finally:
            process.kill()


@contextmanager
def _process() -> Iterator[Specimen]:
    with sleeping() as key:
        yield key, "stopped", "stopped"


@contextmanager
def _kill() -> Iterator[Specimen]:
    """Two workers kill it; it is started again once. What was started is looked for by a line nobody else has."""
    line = ["sleep", f"{100_000 + time.monotonic_ns() % 10**9}.5"]
    with subprocess.Popen(line) as process:
        try:
            seen = processes.read(process.pid)
            assert seen is not None
            yield key_to_kill(seen.key), "killed", "killed"
        finally:
            process.kill()
            left = [each.pid for each in processes.everyone(Place.here()) if list(each.arguments) == line]
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            assert len(left) <= 1, "it was started more than once"


@contextmanager
def _freezer() -> Iterator[Specimen]:
    with sleeping() as key, control_group() as group:
        group.add(int(key.partition("@")[0]))
        yield group.key, "frozen", "frozen"


@contextmanager
def _qdisc() -> Iterator[Specimen]:
    yield "eth0", {"match": None, "rateKbit": 5000}, {"match": None, "rateKbit": 6000}


@contextmanager
def _queue() -> Iterator[Specimen]:
    yield "packets", {"sources": ["10.7.0.1"], "delayMs": 5}, {"sources": ["10.7.0.2"], "delayMs": 5}


UNREADABLE = {"type": "unreadable", "prefix": "/a", "suffix": "", "code": 5}


@contextmanager
def _kibosh() -> Iterator[Specimen]:
    with tempfile.TemporaryDirectory() as target, tempfile.TemporaryDirectory() as mount:
        command = [sys.executable, "-m", "kibosh", mount, "--target", target, "-f"]
        with subprocess.Popen(command) as mounted:
            try:
                while not Path(mount, CONTROL_FILE).exists():
                    assert mounted.poll() is None, "Kibosh ended"
                    time.sleep(0.01)
                yield mount, {**UNREADABLE, "prefix": "/b"}, UNREADABLE
            finally:
                mounted.terminate()
                mounted.wait(30)


@contextmanager
def _original_kibosh() -> Iterator[Specimen]:
    """A file stands for the control file of confluentinc's: what is written there is read back."""
    with tempfile.TemporaryDirectory() as mount:
        Path(mount, CONTROL_FILE).write_text('{"faults": []}')
        yield mount, {**UNREADABLE, "prefix": "/b"}, UNREADABLE


MAY_BE_EMPTY = {"kibosh-c"}
"""Kinds whose specimen shows nothing where its writer is killed between opening and writing: the file that stands for
the original's control file is empty then, where the original keeps its list."""

SPECIMENS: Mapping[str, Callable[[], AbstractContextManager[Specimen]]] = {
    "freezer": _freezer,
    "kibosh": _kibosh,
    "kibosh-c": _original_kibosh,
    "kill": _kill,
    "nft": _cut,
    "process": _process,
    "qdisc": _qdisc,
    "queue": _queue,
}
