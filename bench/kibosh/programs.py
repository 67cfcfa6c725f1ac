"""Real programs that are measured: what each needs, and how long it takes in a directory."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

POSTGRES = Path("/usr/lib/postgresql/15/bin")
NOBODY = 65534


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def small_files(directory: Path) -> Path:
    """A tree of 1000 small files, as a git repository and an archive."""
    source = directory / "source"
    for number in range(1000):
        path = source / f"d{number % 25}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number % 4000))
    git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org", "-C", str(source)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    subprocess.run(["tar", "cf", directory / "source.tar", "--exclude=.git", "-C", source, "."], check=True)
    return directory


def git_clone(base: Path, material: Path) -> float:
    return seconds(["git", "clone", "-q", "--no-local", str(material / "source"), str(base / "clone")])


def untar(base: Path, material: Path) -> float:
    return seconds(["tar", "xf", str(material / "source.tar"), "-C", str(base)])


def sqlite_inserts(base: Path, _: Path) -> float:
    database = sqlite3.connect(base / "db", isolation_level=None)
    database.execute("pragma journal_mode=wal")
    database.execute("pragma synchronous=full")
    database.execute("create table t (n integer primary key, pad text)")
    start = time.perf_counter()
    for number in range(200):
        database.execute("insert into t values (?, ?)", (number, "x" * 500))
    spent = time.perf_counter() - start
    database.close()
    return spent


def pgbench(base: Path, _: Path) -> float:
    """Seconds for 400 transactions of two clients, fsync on."""
    data, sockets = base / "data", Path(tempfile.mkdtemp(prefix="kibosh-bench-", dir="/tmp"))
    data.mkdir(mode=0o700)
    for directory in (data, sockets):
        os.chown(directory, NOBODY, NOBODY)

    def run(program: str, *arguments: str) -> None:
        command = [str(POSTGRES / program), *arguments]
        options = {"user": NOBODY, "group": NOBODY, "extra_groups": [], "cwd": sockets}
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, **options)  # type: ignore[call-overload]

    run("initdb", "-N", "-D", str(data), "-U", "bench", "-A", "trust", "--locale=C")
    options = f"-c listen_addresses= -c unix_socket_directories={sockets} -c shared_buffers=16MB"
    run("pg_ctl", "start", "-w", "-D", str(data), "-l", str(sockets / "log"), "-o", options)
    try:
        connection = ["-h", str(sockets), "-U", "bench", "postgres"]
        run("pgbench", "-i", "-q", "-s", "1", *connection)
        start = time.perf_counter()
        run("pgbench", "-n", "-c", "2", "-t", "200", *connection)
        return time.perf_counter() - start
    finally:
        run("pg_ctl", "stop", "-m", "fast", "-w", "-D", str(data))
        shutil.rmtree(sockets)


def programs() -> dict[str, Callable[[Path, Path], float]]:
    """Those that this machine has."""
    known = {"SQLite, 200 inserts": sqlite_inserts, "git clone": git_clone, "untar 1000 files": untar}
    if (POSTGRES / "pgbench").exists() and os.geteuid() == 0:
        known["pgbench, 400 transactions"] = pgbench
    return known
