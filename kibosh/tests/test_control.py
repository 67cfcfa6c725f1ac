"""The control file, the command line and the life of a mount."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

import kibosh
from conftest import MakeMount, wait_until
from kibosh import cli
from kibosh.mount import is_mounted

EIO_READS = '{"faults":[{"type":"unreadable","prefix":"","suffix":"","code":5}]}'


def run(*arguments: object, code: int = 0, cwd: Path | None = None) -> str:
    """Runs the command line in a process of its own; what it printed."""
    package = Path(kibosh.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "kibosh", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(package)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done
    return done.stdout + done.stderr


def test_the_control_file_is_hidden_and_empty_at_first(any_fs: kibosh.Mount) -> None:
    control = any_fs.mountpoint / "kibosh_control"
    assert control.read_text().strip() == '{"faults":[]}'
    assert os.listdir(any_fs.mountpoint) == []
    assert control.stat().st_mode & 0o7777 == 0o600
    with pytest.raises(PermissionError):
        control.unlink()
    with pytest.raises(PermissionError):
        control.rename(any_fs.mountpoint / "other")


def test_a_shell_can_set_and_clear_faults(any_fs: kibosh.Mount) -> None:
    file = any_fs.mountpoint / "file"
    file.write_text("hello")
    control = any_fs.mountpoint / "kibosh_control"
    subprocess.run(["sh", "-c", f"echo '{EIO_READS}' > '{control}'"], check=True)
    assert json.loads(control.read_text()) == json.loads(EIO_READS)
    with pytest.raises(OSError, match="Input/output") as caught:
        file.read_text()
    assert caught.value.errno == errno.EIO
    subprocess.run(["sh", "-c", f"echo '{{\"faults\":[]}}' > '{control}'"], check=True)
    assert file.read_text() == "hello"


def test_bad_json_fails_close_and_keeps_the_old_set(fs: kibosh.Mount) -> None:
    fs.set([kibosh.Unreadable(code=errno.EIO)])
    before = fs.read()
    file = os.open(fs.mountpoint / "kibosh_control", os.O_WRONLY | os.O_TRUNC)
    os.write(file, b'{"faults":[{"type":"unreadable"}]}')
    with pytest.raises(OSError) as caught:
        os.close(file)
    assert caught.value.errno == errno.EINVAL
    assert fs.read() == before


def test_every_problem_is_told(fs: kibosh.Mount) -> None:
    with pytest.raises(kibosh.Refused) as caught:
        fs.set([kibosh.Unreadable(code="EWHAT"), kibosh.Error(operations=["fly"], code=5)])
    assert [error["path"] for error in caught.value.errors] == ["faults[0].code", "faults[1].operations"]
    assert fs.faults() == []


def test_owners_change_only_their_own_faults(fs: kibosh.Mount) -> None:
    fs.set([kibosh.Unreadable(prefix="/x", code=5)])
    fs.set_owned("task-1", [kibosh.Unwritable(prefix="/y", code=5, id="a")])
    fs.set_owned("task-2", [kibosh.Unwritable(prefix="/z", code=5)])
    fs.set_owned("task-1", [])
    assert [(fault.type, fault.prefix, fault.owner) for fault in fs.faults()] == [
        ("unreadable", "/x", None),
        ("unwritable", "/z", "task-2"),
    ]


def test_a_stale_generation_is_refused(fs: kibosh.Mount) -> None:
    seen = fs.stats()["generation"]
    fs.set_owned("other", [kibosh.Unreadable(code=5)])
    with pytest.raises(kibosh.StaleGeneration):
        fs.write({"generation": seen, "faults": []})
    assert len(fs.faults()) == 1
    fs.write({"generation": fs.stats()["generation"], "faults": []})
    assert fs.faults() == []


def test_a_fault_ends_by_itself(fs: kibosh.Mount) -> None:
    file = fs.mountpoint / "file"
    file.write_text("hello")
    fs.set([kibosh.Unreadable(code=5, duration_ms=300), kibosh.Unwritable(prefix="/x", code=5)])
    with pytest.raises(OSError):
        file.read_text()
    assert fs.faults()[0].until_boottime_ms is not None
    wait_until(lambda: len(fs.faults()) == 1, "the fault never ended")
    assert file.read_text() == "hello"


def test_a_typed_fault_reads_back_as_itself(fs: kibosh.Mount) -> None:
    faults = [
        kibosh.Unreadable(prefix="/a", suffix=".log", code=5),
        kibosh.WriteDelay(delay_ms=5, jitter_ms=1, distribution="normal", fraction=0.5),
        kibosh.ReadCorrupt(mode=kibosh.CorruptMode.RANDOM, fraction=0.5, count=-1),
        kibosh.Error(operations=["rename", "fsync"], code="EROFS", glob="/**/*.x", uid=7, process="p", nth=3),
        kibosh.Bandwidth(bytes_per_sec=1000),
        kibosh.DiskFull(bytes=10),
        kibosh.TornWrite(survive="random"),
        kibosh.BitFlip(block_size=512, fraction=0.1),
        kibosh.FsyncOnce(),
        kibosh.LoseUnsynced(fraction=0.5, max_bytes=1 << 20),
        kibosh.Crash(operations=["fsync"], then=["kill", "lose_unsynced"]),
    ]
    fs.set(faults)
    assert fs.faults() == faults


def test_the_command_line_mounts_changes_and_unmounts(tmp_path: Path, make_mount: MakeMount) -> None:
    target, mountpoint = tmp_path / "t", tmp_path / "m"
    target.mkdir()
    mountpoint.mkdir()
    (target / "file").write_text("hello")
    pidfile = tmp_path / "pid"
    run(mountpoint, "--target", target, "-P", pidfile, "-l", tmp_path / "log")
    try:
        assert is_mounted(str(mountpoint))
        pid = int(pidfile.read_text())
        run("set", mountpoint, EIO_READS)
        assert json.loads(run("faults", mountpoint)) == json.loads(EIO_READS)
        assert json.loads(run("stats", mountpoint))["pid"] == pid
        assert "unknown type" in run("set", mountpoint, '{"type":"nope"}', code=1)
        run("clear", mountpoint)
        assert (mountpoint / "file").read_text() == "hello"
    finally:
        run("umount", mountpoint)
    assert not is_mounted(str(mountpoint))
    wait_until(lambda: not pidfile.exists(), "the pid file stayed")
    assert "is not a directory" in run(mountpoint / "none", target, code=1)
    for option in ("--pidfile", "--log"):
        assert f"{tmp_path}/none/file" in run(mountpoint, target, option, tmp_path / "none/file", code=1)
    assert "-o" in run(mountpoint, target, "-o", "nonsense=1", code=1)
    assert "which directory" in run(mountpoint, code=2)
    assert "lose" in run("--help")
    assert "bandwidth bytesPerSec [operations]" in run("set", "--help")


def test_exec_runs_a_program_with_its_directory_under_kibosh(tmp_path: Path, make_mount: MakeMount) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    (directory / "file").write_text("hello")
    faults = '{"type":"unreadable","code":"EIO"}'
    code = f"cat {directory}/file; echo new > {directory}/other; exit 3"
    assert "hello" in run("exec", directory, "--", "sh", "-c", code, code=3)
    assert "Input/output error" in run("exec", directory, "--faults", faults, "--", "sh", "-c", code, code=3)
    within = run("exec", ".", "--faults", faults, "--", "cat", "file", code=1, cwd=directory)
    assert "Input/output error" in within
    assert not is_mounted(str(directory))
    assert (directory / "other").read_text() == "new\n"


COUNTS_INTERRUPTS = """
import signal, sys
felt = []
signal.signal(signal.SIGINT, lambda *_: (felt.append(1), print("felt", flush=True)))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(10 + len(felt)))
print("ready", flush=True)
while True:
    signal.pause()
"""


def test_ctrl_c_reaches_the_program_that_exec_runs_once(tmp_path: Path, make_mount: MakeMount) -> None:
    make_mount()
    terminal, theirs = pty.openpty()
    package = str(Path(kibosh.__file__).parent.parent)
    command = [
        sys.executable,
        "-m",
        "kibosh",
        "exec",
        str(tmp_path),
        "--",
        sys.executable,
        "-c",
        COUNTS_INTERRUPTS,
    ]
    child = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": package},
        stdin=theirs,
        stdout=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)

    def await_output(word: bytes) -> None:
        seen = b""
        while word not in seen:
            seen += os.read(terminal, 4096)

    await_output(b"ready")
    os.write(terminal, b"\x03")
    await_output(b"felt")
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 11
    os.close(terminal)
    assert not is_mounted(tmp_path)


def test_a_mount_is_found_by_a_symbolic_link_even_dead(tmp_path: Path, make_mount: MakeMount) -> None:
    fs = make_mount()
    link = tmp_path / "link"
    link.symlink_to(fs.mountpoint)
    assert is_mounted(link)
    fs.kill()
    assert "kibosh umount" in run("faults", link, code=1)
    run("umount", link)
    assert not is_mounted(fs.mountpoint)


def test_a_killed_daemon_leaves_enotconn_and_what_was_fsynced(make_mount: MakeMount) -> None:
    fs = make_mount()
    file = os.open(fs.mountpoint / "file", os.O_CREAT | os.O_WRONLY)
    os.write(file, b"x" * 10_000)
    os.fsync(file)
    fs.kill()
    with pytest.raises(OSError) as caught:
        os.stat(fs.mountpoint / "file")
    assert caught.value.errno == errno.ENOTCONN
    run("umount", fs.mountpoint)
    assert (fs.target / "file").read_bytes() == b"x" * 10_000
    with pytest.raises(OSError):
        os.close(file)


def test_umount_ends_nobody_who_has_the_daemons_pid_here(
    make_mount: MakeMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = make_mount()
    stranger = subprocess.Popen(["sleep", "3600"])
    monkeypatch.setattr("kibosh.Control.stats", lambda _: {"pid": stranger.pid})
    try:
        assert cli.main(["umount", str(fs.mountpoint)]) == 0
        assert not is_mounted(str(fs.mountpoint))
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_umount_does_not_wait_until_the_daemon_is_reaped(make_mount: MakeMount) -> None:
    fs = make_mount()
    run("umount", fs.mountpoint)
    assert not is_mounted(fs.mountpoint)


def test_what_a_killed_daemon_has_hidden_keeps_no_directory(make_mount: MakeMount) -> None:
    fs = make_mount()
    left = fs.target / "d"
    left.mkdir()
    for number in range(2000):
        (left / f".kibosh-undo-1-{number}").touch()
    (fs.mountpoint / "d").rmdir()
    assert not left.exists()


def test_sigterm_writes_back_and_unmounts(make_mount: MakeMount) -> None:
    fs = make_mount()
    file = os.open(fs.mountpoint / "file", os.O_CREAT | os.O_WRONLY)
    os.write(file, b"y" * 100_000)
    assert fs.pid is not None
    os.kill(fs.pid, signal.SIGTERM)
    wait_until(lambda: not is_mounted(str(fs.mountpoint)), "still mounted")
    fs.unmount()
    assert (fs.target / "file").read_bytes() == b"y" * 100_000
    with pytest.raises(OSError):
        os.close(file)


def test_a_copy_of_the_mount_in_another_namespace_does_not_keep_the_daemon(make_mount: MakeMount) -> None:
    fs = make_mount()
    (fs.mountpoint / "file").write_bytes(b"written")
    copy = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready; read line"]
    with subprocess.Popen(copy, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        assert fs.pid is not None
        status = Path(f"/proc/{fs.pid}/stat")
        os.kill(fs.pid, signal.SIGTERM)
        wait_until(lambda: status.read_text().rpartition(")")[2].split()[0] == "Z", "the daemon lives on")
    assert (fs.target / "file").read_bytes() == b"written"


def test_without_its_compiled_part_it_says_what_to_do(tmp_path: Path) -> None:
    package = Path(kibosh.__file__).parent
    shutil.copytree(package, tmp_path / "kibosh", ignore=shutil.ignore_patterns("_native*", "__pycache__"))
    script = (
        "import sys, kibosh\ntry: kibosh.Mount(*sys.argv[1:]).mount()\nexcept OSError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "the compiled part cannot be loaded" in done.stdout
    assert "make -C kibosh build" in done.stdout


MOUNTS_AND_IS_KILLED = """
import os, signal, sys, kibosh
fs = kibosh.Mount(sys.argv[1], sys.argv[2])
fs.mount()
with open(sys.argv[2] + "/file", "w") as file:
    file.write("z" * 100_000)
print(fs.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_mount_ends_with_the_program_that_made_it(make_mount: MakeMount, tmp_path: Path) -> None:
    make_mount()  # or the test is left out
    target, mountpoint = tmp_path / "t", tmp_path / "m"
    target.mkdir()
    mountpoint.mkdir()
    package = Path(kibosh.__file__).parent.parent
    command = [sys.executable, "-c", MOUNTS_AND_IS_KILLED, str(target), str(mountpoint)]
    environment = {**os.environ, "PYTHONPATH": str(package)}
    killed = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    wait_until(lambda: not is_mounted(str(mountpoint)), "still mounted")
    wait_until(lambda: not Path(f"/proc/{int(killed.stdout)}").exists(), "the daemon is left")
    assert (target / "file").read_bytes() == b"z" * 100_000


def test_whoever_uses_the_target_past_the_mount_is_told_of(make_mount: MakeMount, tmp_path: Path) -> None:
    target = tmp_path / "a target"
    target.mkdir()
    (target / "file").write_bytes(b"x" * 4096)
    opens = "import os, sys\nfile = os.open(sys.argv[1], os.O_RDONLY)\n"
    maps = "import mmap\nmapped = mmap.mmap(file, 4096, prot=mmap.PROT_READ)\nos.close(file)\n"
    says = "print('held', flush=True)\nsys.stdin.readline()"

    def holder(code: str, path: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", opens + code + says, str(path)]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        return child

    children = [holder("", target / "file"), holder(maps, target / "file")]
    fs = make_mount(target)
    children.append(holder("", fs.mountpoint / "file"))
    past = {child.pid for child in children[:2]}
    wait_until(lambda: {each["pid"] for each in fs.stats()["outside"]} == past, "the two are found")
    log = tmp_path / "kibosh0.log"
    wait_until(lambda: log.read_text().count(f"uses {target / 'file'} past the mount") == 2, "and logged")
    for child in children:
        child.communicate("\n", timeout=30)
    wait_until(lambda: fs.stats()["outside"] == [], "they have gone")
