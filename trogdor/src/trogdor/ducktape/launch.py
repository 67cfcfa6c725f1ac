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
    path = os.pathsep.join(filter(None, [str(_SOURCE), os.environ.get("PYTHONPATH", "")]))
    programs = {"TROGDOR_COMMAND": "trogdor"}
    seen = [str(_SOURCE), sys.prefix, os.environ.get("TROGDOR_LAB_SHARE", "")]
    kibosh = importlib.util.find_spec("kibosh")
    if kibosh is not None and kibosh.origin:
        programs["KIBOSH_COMMAND"] = "kibosh"
        seen.append(str(Path(kibosh.origin).parents[1]))
    there = f"env PYTHONPATH={shlex.quote(path)} {shlex.quote(sys.executable)} -m"
    environment = {
        **{variable: f"{there} {module}" for variable, module in programs.items()},
        **os.environ,
        "TROGDOR_LAB_NODES": str(nodes),
        "TROGDOR_LAB_SHARE": os.pathsep.join(filter(None, seen)),
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
