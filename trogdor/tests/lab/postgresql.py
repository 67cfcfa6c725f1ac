"""A PostgreSQL server on a lab's node, of the version that the machine has."""

import os
import pwd
from pathlib import Path
from urllib.parse import quote

import pytest

from trogdor.lab.node import Node

INITDB = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
HOME = "/mnt/postgresql"
DATA = f"{HOME}/data"
START = ("-D", DATA, "-w", "-t", "100", "-l", f"{HOME}/log", "start")

needs_postgresql = pytest.mark.skipif(
    INITDB is None or os.geteuid() != 0, reason="needs PostgreSQL's server, and root to leave it"
)


def as_postgres(node: Node, program: str, *arguments: str) -> None:
    """Runs a program of PostgreSQL's on a node, as the user postgres: it refuses to be root."""
    assert INITDB is not None
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    done = node.exec([*user, str(INITDB.with_name(program)), *arguments], timeout=120, cwd="/", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def make_home(node: Node) -> None:
    """The directory of a server's data, socket and log."""
    node.path(HOME).mkdir()
    os.chown(node.path(HOME), *pwd.getpwnam("postgres")[2:4])


def start_server(node: Node) -> None:
    """Starts a server that trusts everybody, on the node's addresses and on a Unix socket in its home."""
    make_home(node)
    as_postgres(node, "initdb", "-D", DATA, "-U", "postgres", "-A", "trust", "--no-sync")
    with open(node.path(f"{DATA}/pg_hba.conf"), "a") as hba:
        hba.write("host all all all trust\nhost replication all all trust\n")
    with open(node.path(f"{DATA}/postgresql.conf"), "a") as conf:
        conf.write(f"listen_addresses = '*'\nunix_socket_directories = '{HOME}'\nfsync = off\n")
        conf.write("dynamic_shared_memory_type = mmap\n")  # what is in /dev/shm would stay
    as_postgres(node, "pg_ctl", *START)


def url_from_outside(node: Node, database: str = "postgres") -> str:
    """The URL of a database for whoever is not on the node: by the socket, which crosses network namespaces."""
    return f"postgresql://postgres@/{database}?host={quote(str(node.path(HOME)), safe='')}"
