"""Real programs on the mount: fio, SQLite, PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import kibosh

pytestmark = pytest.mark.programs

POSTGRES = next((path for path in (Path("/usr/lib/postgresql/15/bin"),) if (path / "initdb").exists()), None)
NOBODY = 65534


def test_fio_reads_back_what_it_wrote(any_fs: kibosh.Mount) -> None:
    if not shutil.which("fio"):
        pytest.skip("needs fio")
    job = ["--rw=randrw", "--bs=512-64k", "--size=8m", "--verify=crc32c", "--verify_fatal=1", "--fsync=32"]
    for extra in (["--ioengine=psync"], ["--ioengine=mmap", "--bs=4k"], ["--ioengine=libaio", "--iodepth=8"]):
        name = extra[0].partition("=")[2]
        command = ["fio", f"--directory={any_fs.mountpoint}", f"--name={name}", *job, *extra]
        aside = any_fs.target.parent  # fio leaves a file of its own where it is started
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=aside)
        assert done.returncode == 0, done.stdout + done.stderr


INSERT = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute(f"pragma journal_mode={sys.argv[2]}")
db.execute("pragma synchronous=full")
db.execute("create table if not exists t (n integer primary key, pad text)")
for number in range(1000):
    db.execute("insert into t values (?, ?)", (number, "x" * 500))
    print(number, flush=True)
"""


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_sqlite_loses_no_acknowledged_insert_at_a_crash(fs: kibosh.Mount, journal: str) -> None:
    path = fs.mountpoint / "db"
    sqlite3.connect(path).close()
    crash = kibosh.Crash(operations=["fsync"], nth=60, then=["kill", "lose_unsynced"])
    fs.set([kibosh.LoseUnsynced(), crash])
    command = [sys.executable, "-c", INSERT, str(path), journal]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    acknowledged = [int(number) for number in done.stdout.split()]
    fs.clear()
    database = sqlite3.connect(path)
    assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
    found = [row[0] for row in database.execute("select n from t order by n")]
    database.close()
    assert len(acknowledged) >= 5
    assert found[: len(acknowledged)] == acknowledged


class Server:
    """A PostgreSQL of its own, run by an unprivileged user, its data on the mount."""

    def __init__(self, data: Path, sockets: Path, *, fsync: bool) -> None:
        self.data, self.sockets, self.leader = data, sockets, 0
        self.options = (
            f"-c fsync={'on' if fsync else 'off'} -c listen_addresses= -c unix_socket_directories={sockets} "
            "-c shared_buffers=8MB -c max_connections=8 -c autovacuum=off -c checkpoint_timeout=1h "
            "-c full_page_writes=on -c wal_recycle=off -c logging_collector=off"
        )

    def run(self, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        assert POSTGRES is not None
        return subprocess.run(
            [str(POSTGRES / program), *arguments],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            cwd=self.sockets,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=check,
            timeout=120,
        )

    def start(self) -> None:
        log = str(self.sockets / "log")
        where = ["-D", str(self.data), "-l", log, "-o", self.options]
        done = self.run("pg_ctl", "start", "-w", "-t", "90", *where, check=False)
        assert done.returncode == 0, done.stderr + Path(log).read_text()[-3000:]
        self.leader = int((self.data / "postmaster.pid").read_text().split()[0])

    def kill(self) -> None:
        """Kills every process of the server, as a power cut would, and waits for them."""
        family = [self.leader, *children_of(self.leader)] if self.leader else []
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while any(is_running(pid) for pid in family):
            assert time.monotonic() < deadline, "the server does not die"
            time.sleep(0.02)
        self.leader = 0

    def sql(self, *statements: str) -> str:
        connection = ["-h", str(self.sockets), "-U", "test", "-d", "postgres"]
        commands = [part for statement in statements for part in ("-c", statement)]
        return self.run("psql", "-XqAt", *connection, *commands).stdout


def children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A short path that an unprivileged user can reach, for sockets and the log."""
    directory = Path(tempfile.mkdtemp(prefix="kibosh-pg-", dir="/tmp"))
    directory.chmod(0o755)
    os.chown(directory, NOBODY, NOBODY)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """A new database cluster, to be copied."""
    if POSTGRES is None or os.geteuid() != 0:
        pytest.skip("needs root and PostgreSQL 15")
    directory = Path(tempfile.mkdtemp(prefix="kibosh-pg-", dir="/tmp"))
    give_away(directory)
    options = ["-D", str(directory / "data"), "-U", "test", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
    Server(directory, directory, fsync=False).run("initdb", *options)
    yield directory / "data"
    shutil.rmtree(directory)


def give_away(directory: Path) -> None:
    """To the user who runs the server."""
    for path in (directory, *directory.rglob("*")):
        os.chown(path, NOBODY, NOBODY)


@pytest.mark.parametrize("fsync", [True, False])
def test_postgres_after_a_power_cut(fsync: bool, sockets: Path, cluster: Path) -> None:
    """With fsync every acknowledged commit is there; without, the same test catches the loss."""
    target, mountpoint = sockets / "target", sockets / "mount"
    for directory in (target, mountpoint):
        directory.mkdir(mode=0o755)
    shutil.copytree(cluster, target / "data")
    give_away(target / "data")
    with kibosh.Mount(target, mountpoint, allow_other=True, log=sockets / "kibosh.log") as fs:
        server = Server(mountpoint / "data", sockets, fsync=fsync)
        server.start()
        try:
            server.sql("create table t (n int primary key, pad text)", "checkpoint")
            sync(mountpoint)
            fs.set([kibosh.LoseUnsynced(max_bytes=1 << 30)])
            server.sql(*(f"insert into t values ({number}, repeat('x', 200))" for number in range(40)))
            fs.lose_unsynced()
            server.kill()
            fs.clear()
            (server.data / "postmaster.pid").unlink(missing_ok=True)
            (sockets / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
            server.start()
            found = [int(line) for line in server.sql("select n from t order by n").split()]
        finally:
            server.kill()
    if fsync:
        assert found == list(range(40))
    else:
        assert len(found) < 40, "fsync is off, and yet nothing was lost"


def sync(mountpoint: Path) -> None:
    """Makes everything below durable: names too."""
    for base, _, files in os.walk(mountpoint):
        for path in (base, *(os.path.join(base, name) for name in files)):
            try:
                file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:
                continue
            os.fsync(file)
            os.close(file)


def test_many_small_files(any_fs: kibosh.Mount, tmp_path: Path) -> None:
    """A tree goes through tar and git, and comes out the same."""
    source = tmp_path / "source"
    for number in range(150):
        path = source / f"d{number % 10}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number % 256]) * number * 7)
    archive = tmp_path / "a.tar"
    subprocess.run(["tar", "cf", str(archive), "-C", str(source), "."], check=True)
    (any_fs.mountpoint / "tar").mkdir()
    subprocess.run(["tar", "xf", archive, "-C", any_fs.mountpoint / "tar"], check=True)
    subprocess.run(["diff", "-r", source, any_fs.mountpoint / "tar"], check=True)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(any_fs.mountpoint / "tar")]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"], ["fsck", "--strict"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    clone = any_fs.mountpoint / "clone"
    subprocess.run(["git", "clone", "-q", any_fs.mountpoint / "tar", clone], check=True, capture_output=True)
    shutil.rmtree(clone / ".git")
    subprocess.run(["diff", "-r", source, clone], check=True)
