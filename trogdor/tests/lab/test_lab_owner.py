"""A lab's end, in whatever way its owner ends, and its life without root."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trogdor
from lab.waiting import python_path, wait_until
from trogdor.lab import Lab

pytestmark = pytest.mark.lab

SOURCE = Path(trogdor.__file__).parents[1]

OWNER = """
import json, signal, sys, time
from trogdor.lab import Lab
signal.signal(signal.SIGINT, signal.default_int_handler)
with Lab(nodes=2) as lab:
    sleepers = [node.popen(["sh", "-c", "setsid sleep 1000 & sleep 1000"]) for node in lab.nodes.values()]
    pids = [sleeper.host_pid for sleeper in sleepers] + [node.pid for node in lab.nodes.values()]
    said = {"name": lab.name, "pids": pids, "keeper": lab._guard.pid, "places": [str(lab.state), str(lab.runtime)]}
    print(json.dumps(said), flush=True)
    time.sleep(1000)
"""


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[str]]:
    """A process that holds a lab in which programs run."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        env={**os.environ, "PYTHONPATH": python_path()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lab_of(owner: subprocess.Popen[str]) -> dict[str, Any]:
    assert owner.stdout is not None
    line = owner.stdout.readline()
    assert line, owner.communicate()[1]
    lab: dict[str, Any] = json.loads(line)
    assert all(is_running(pid) for pid in lab["pids"])
    return lab


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def nothing_remains(lab: dict[str, Any]) -> bool:
    processes = [pid for pid in [*lab["pids"], lab["keeper"]] if is_running(pid)]
    return not processes and not any(Path(place).exists() for place in lab["places"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_outlives_an_owner_that_is_ended(owner: subprocess.Popen[str], number: signal.Signals) -> None:
    lab = lab_of(owner)
    owner.send_signal(number)
    owner.communicate()
    wait_until(lambda: nothing_remains(lab))


def test_no_process_outlives_the_keeper_and_the_next_lab_removes_its_files(owner: subprocess.Popen[str]) -> None:
    lab = lab_of(owner)
    os.kill(lab["keeper"], signal.SIGKILL)
    wait_until(lambda: not any(is_running(pid) for pid in lab["pids"]))
    owner.kill()
    owner.communicate()
    state = Path(lab["places"][0])
    assert state.exists()
    with Lab(nodes=1):
        assert not state.exists()


def test_a_lab_whose_init_dies_is_removed(owner: subprocess.Popen[str]) -> None:
    lab = lab_of(owner)
    children = Path(f"/proc/{lab['keeper']}/task/{lab['keeper']}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    wait_until(lambda: nothing_remains(lab))


NOBODY = 65534


@pytest.fixture
def unprivileged() -> Iterator[list[str]]:
    """A command that runs Python without root, where it can import trogdor.lab."""
    if os.geteuid() != 0:
        yield ["env", f"PYTHONPATH={SOURCE}", sys.executable]
        return
    directory = Path(tempfile.mkdtemp(prefix="trogdor-test-"))
    directory.chmod(0o755)
    (directory / "trogdor").mkdir()
    shutil.copy(SOURCE / "trogdor/__init__.py", directory / "trogdor")
    shutil.copytree(SOURCE / "trogdor/lab", directory / "trogdor/lab")
    home = directory / "run"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "env", f"XDG_RUNTIME_DIR={home}"]
    for python in (sys.executable, "/usr/bin/python3"):
        command = [*drop, f"PYTHONPATH={directory}", python]
        if subprocess.run([*command, "-c", "import trogdor.lab"], capture_output=True, cwd="/").returncode == 0:
            break
    try:
        yield command
    finally:
        shutil.rmtree(directory)


UNPRIVILEGED = """
import json, os, socket
from trogdor.lab import Lab
assert os.geteuid() != 0
with Lab(nodes=3) as lab:
    one, two, three = lab.nodes.values()
    listening = three.socket()
    listening.bind(("", 7000))
    listening.listen()
    one.connect(three.address, 7000).close()
    sleeper = one.popen(["sleep", "1000"])
    said = {
        "user": two.exec(["id", "-u"]).stdout,
        "host": two.exec(["hostname"]).stdout,
        "pids": [sleeper.host_pid, *(node.pid for node in lab.nodes.values())],
        "keeper": lab._guard.pid,
        "places": [str(lab.state), str(lab.runtime)],
        "drop": one.exec(["ip", "route", "add", "blackhole", three.address + "/32"]).returncode,
    }
    try:
        one.connect(three.address, 7000, timeout=0.2)
    except OSError:
        said["blocked"] = True
    print(json.dumps(said))
"""


def test_a_lab_without_root(unprivileged: list[str]) -> None:
    run = subprocess.run([*unprivileged, "-c", UNPRIVILEGED], capture_output=True, text=True, cwd="/", timeout=60)
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert (said["user"], said["host"], said["drop"], said["blocked"]) == ("0\n", "n2\n", 0, True)
    assert all(said["pids"])
    assert nothing_remains(said)


@pytest.mark.parametrize("kind", ["net", "pid", "mnt"])
def test_where_no_lab_can_be_the_reason_and_the_fix_are_said(kind: str) -> None:
    script = "from trogdor.lab import Lab; Lab(nodes=1)"
    shell = f'echo 0 > /proc/sys/user/max_{kind}_namespaces; exec "$0" -c "$1"'
    run = subprocess.run(
        ["unshare", "-U", "-r", "sh", "-c", shell, sys.executable, script],
        env={**os.environ, "PYTHONPATH": python_path()},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    assert "there can be no lab here: unshare: No space left on device" in run.stderr
    assert f"sysctl user.max_{kind}_namespaces=" in run.stderr
