"""``trogdor lab ducktape``: this process becomes ducktape, told of the lab that it shall make."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_SOURCE = Path(__file__).resolve().parents[2]
_INSTALLED = ("site-packages", "dist-packages")


class NoDucktape(Exception):
    """There is no ducktape in that Python, or no Trogdor for it."""


def run(arguments: Sequence[str], nodes: int, python: str) -> None:
    """Replaces this process with ducktape in ``python``, on a lab of so many nodes; agents run in this Python.

    Raises NoDucktape that says what to install.
    """
    path = os.pathsep.join(filter(None, [str(_SOURCE), *_kibosh(), os.environ.get("PYTHONPATH", "")]))
    python_there = f"env PYTHONPATH={shlex.quote(path)} {shlex.quote(sys.executable)}"
    given = os.environ.get("TROGDOR_LAB_SHARE", "")
    shared = os.pathsep.join(filter(None, [str(_SOURCE), *_kibosh(), sys.prefix, given]))
    environment = {
        "TROGDOR_COMMAND": f"{python_there} -m trogdor",
        "KIBOSH_COMMAND": f"{python_there} -m kibosh",
        **os.environ,
        "TROGDOR_LAB_NODES": str(nodes),
        "TROGDOR_LAB_SHARE": shared,
    }
    if _SOURCE.name not in _INSTALLED:  # else all of this environment would be seen before that of ducktape
        environment["PYTHONPATH"] = path
    try:
        probe = [python, "-c", "import ducktape.cluster.json, trogdor.ducktape.lab"]
        missing = subprocess.run(probe, env=environment, capture_output=True, text=True, check=False).stderr
    except OSError as error:
        raise NoDucktape(f"cannot run {python}: {error.strerror}") from None
    if missing:
        raise NoDucktape(
            f"{python} cannot run ducktape with Trogdor: {missing.splitlines()[-1]}. "
            "In an environment of its own: pip install ducktape==0.17.0, pip install --no-deps pytrogdor; "
            "then --python ENVIRONMENT/bin/python"
        )
    sys.stdout.flush()
    command = [python, "-m", "ducktape", "--cluster", "trogdor.ducktape.LabCluster", *arguments]
    os.execve(command[0], command, environment) if os.sep in python else os.execvpe(python, command, environment)


def _kibosh() -> list[str]:
    """Where this Python has Kibosh: a directory, or none."""
    found = importlib.util.find_spec("kibosh")
    return [str(Path(found.origin).parents[1])] if found and found.origin else []
