"""What runs Trogdor and Kibosh on a node: a command that is there, or what is installed from wheels."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from trogdor.deploy.install import install
from trogdor.deploy.wheels import KIBOSH, TROGDOR, Wheels, make

_DISTRIBUTIONS = {"trogdor": TROGDOR, "kibosh": KIBOSH}


def setting(context: Any, name: str, given: str | None = None) -> str | None:
    """``given``, or the global of that name (``ducktape --globals``), or the variable in capitals; None: not said."""
    told = getattr(context, "globals", None) or {}
    return given or told.get(name) or os.environ.get(name.upper()) or None


def provide(context: Any, account: Any, name: str, prefix: str, command: str | None, wheels: str | None) -> str:
    """A line of shell that runs a program of ours on a node.

    Unless wheels are given: the command that is said (``trogdor_command``), or the program of the node's PATH. Else it
    is installed below ``prefix`` from these wheels, those of ``trogdor_wheels``, or what pip makes here.
    Raises NoWheels, or the account's error with what failed on the node.
    """
    if wheels is None:
        if command := setting(context, f"{name}_command", command):
            return command
        if account.ssh(f"command -v {name} >/dev/null", allow_fail=True) == 0:
            return name
    directory = setting(context, f"{name}_wheels", wheels)
    distribution = _DISTRIBUTIONS[name]
    found = Wheels.read(Path(directory), distribution) if directory else _made(distribution)
    return install(account, found, prefix).program(name)


@cache
def _made(distribution: str) -> Wheels:
    return make(Path(tempfile.mkdtemp(prefix=f"{distribution}-wheels-")), distribution)
