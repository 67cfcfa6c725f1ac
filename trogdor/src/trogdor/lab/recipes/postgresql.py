"""A real PostgreSQL server on a lab's node: Debian's, or the one whose programs are in `PG_BIN`. Needs root.

with Lab(nodes=1) as lab, Postgresql(lab.nodes["n1"]) as database:
    database.sql("select 1")
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from trogdor.lab.node import Node
from trogdor.lab.runtime import LabError

HOME = "/mnt/postgresql"
USER = "postgres"
_SETTINGS = "-c shared_buffers=8MB -c max_connections=10 -c fsync=on -c listen_addresses="
_TIMEOUT_S = 120.0


class SqlError(Exception):
    """The server refused a statement, or does not answer; what psql said."""


class Postgresql:
    """One server, reached by a socket of its node. Raises LabError with the log when it does not start.

    data: its directory, on whatever is mounted there; made anew.
    """

    def __init__(self, node: Node, data: str = f"{HOME}/data") -> None:
        if os.geteuid() != 0:
            raise LabError("PostgreSQL refuses to be root, and only root can leave it: run this as root")
        self._node, self._data, self._bin = node, data, _programs()
        node.exec(["install", "-d", "-o", USER, "-g", USER, HOME, data], check=True)
        made = self._run("initdb", "-D", data, "-A", "trust", "-E", "UTF8", "--locale=C")
        where = ["-D", data, "-l", f"{HOME}/log", "-o", f"{_SETTINGS} -c unix_socket_directories={HOME}"]
        started = made.returncode or self._run("pg_ctl", "start", "-w", *where).returncode
        if started:
            log = node.path(f"{HOME}/log")
            raise LabError(f"PostgreSQL has not started:\n{made.stderr}{log.read_text() if log.exists() else ''}")

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[Any]:
        user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        return self._node.exec([*user, str(self._bin / program), *arguments], timeout=_TIMEOUT_S, cwd="/")

    def sql(self, statement: str) -> str:
        """What a statement returns, as psql prints rows. Raises SqlError."""
        ran = self._run("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", HOME, "-d", "postgres", "-c", statement)
        if ran.returncode:
            raise SqlError(ran.stderr.strip())
        return str(ran.stdout).strip()

    def close(self) -> None:
        """End the server at once."""
        self._run("pg_ctl", "stop", "-D", self._data, "-m", "immediate")

    def __enter__(self) -> Postgresql:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()


def _programs() -> Path:
    if given := os.environ.get("PG_BIN"):
        return Path(given)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise LabError("no PostgreSQL server: apt-get install postgresql, or name its programs' directory in PG_BIN")
    return found[-1].parent
