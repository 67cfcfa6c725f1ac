"""`trogdor lab`, as typed."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.waiting import python_path, wait_until
from trogdor.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab-cli")]

LAB = [sys.executable, "-m", "trogdor", "lab"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": python_path(), "SHELL": "/bin/sh", "PS1": "$ "}


def run(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LAB, *arguments], env=ENVIRONMENT, capture_output=True, text=True, timeout=120, **more)


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*LAB, *arguments], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def up() -> Iterator[dict[str, Any]]:
    """A lab of two nodes that `lab up` left behind."""
    name = f"cli-{os.getpid()}"
    brought = run("up", "2", "--name", name, "--no-daemons", "--json")
    assert brought.returncode == 0, brought.stderr
    lab: dict[str, Any] = json.loads(brought.stdout)
    assert lab["name"] == name
    yield lab
    ended = run("down", name)
    assert (ended.returncode, ended.stdout) == (0, f"{name} is down\n")
    assert not Path(lab["state"]).exists()
    assert not any(Path(f"/proc/{node['pid']}").exists() for node in lab["nodes"].values())
    assert name not in run("ls").stdout


def test_a_lab_stays_up_and_is_listed(up: dict[str, Any]) -> None:
    assert list(up["nodes"]) == ["n1", "n2", "coordinator"]
    listed = json.loads(run("ls", "--json").stdout)
    assert {"name": up["name"], "nodes": 2, "state": up["state"]} in listed
    assert up["name"] in run("ls").stdout
    again = run("up", "1", "--name", up["name"])
    assert again.returncode == 2
    assert "up already" in again.stderr


def test_exec_passes_streams_and_the_exit_code(up: dict[str, Any]) -> None:
    done = run("exec", "n2", "--name", up["name"], "--", "sh", "-c", "hostname; cat; exit 3", input="hello")
    assert (done.returncode, done.stdout) == (3, "n2\nhello")
    assert run("exec", "--name", up["name"], "n1", "sh", "-c", "kill -9 $$").returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["exec", "n9", "--", "true"], "there are n1, n2, coordinator"),
        (["exec", "n1", "--", "no-such-program"], "cannot run no-such-program in n1"),
        (["logs", "n1", "no-such-log"], "n1 has no log 'no-such-log'"),
    ],
)
def test_a_wrong_name_is_told(up: dict[str, Any], arguments: list[str], said: str) -> None:
    done = run(arguments[0], "--name", up["name"], *arguments[1:])
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_no_such_lab_is_told() -> None:
    for command in (["ps", "--name", "no-such"], ["down", "no-such"]):
        done = run(*command)
        assert (done.returncode, done.stdout) == (2, "")
        assert "`trogdor lab up 3` starts one" in done.stderr


def test_ctrl_c_ends_what_exec_runs(up: dict[str, Any]) -> None:
    with started("exec", "n1", "--name", up["name"], "--", "sleep", "1000") as process:
        wait_until(lambda: processes(up, "n1") == ["sleep 1000"])
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 128 + signal.SIGINT
    assert processes(up, "n1") == []


def processes(up: dict[str, Any], node: str) -> list[str]:
    return [process.command for process in Lab.attach(up["name"]).node(node).processes()]


def test_ps_shows_nodes_and_their_processes(up: dict[str, Any]) -> None:
    node = Lab.attach(up["name"]).node("n2")
    with node.popen(["sleep", "1000"]) as sleeper:
        wait_until(lambda: [process.state for process in node.processes()] == ["S"])
        shown = json.loads(run("ps", "--name", up["name"], "--json").stdout)
        assert {node: entry["processes"] for node, entry in shown["nodes"].items()} == {
            "n1": [],
            "n2": [{"pid": sleeper.pid, "parent": 1, "state": "S", "command": "sleep 1000"}],
            "coordinator": [],
        }
        assert f"n2           10.66.0.2    {sleeper.pid}    S      sleep 1000" in run("ps", "--name", up["name"]).stdout


def test_logs_are_printed(up: dict[str, Any]) -> None:
    for log in ("one", "two"):
        run("exec", "n1", "--name", up["name"], "--", "sh", "-c", f"echo text of {log} > /var/log/{log}.log")
    assert run("logs", "n1", "two", "--name", up["name"]).stdout == "text of two\n"
    assert run("logs", "n1", "--name", up["name"]).stdout == "==> one\ntext of one\n==> two\ntext of two\n"


def test_a_shell_has_a_terminal_and_job_control(up: dict[str, Any]) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [*LAB, "shell", "n1", "--name", up["name"]], ENVIRONMENT)
    seen = b""

    def shows(text: bytes) -> None:
        nonlocal seen
        until = time.monotonic() + 60
        while text not in seen:
            assert time.monotonic() < until, seen
            if select.select([terminal], [], [], 0.1)[0]:
                seen += os.read(terminal, 4096)
        seen = seen.partition(text)[2]

    shows(b"$ ")
    os.write(terminal, b"echo I am $(hostname) on $(tty)\n")
    shows(b"I am n1 on /dev/pts/")
    os.write(terminal, b"sleep 1000; echo after $?\n")
    wait_until(lambda: "sleep 1000" in processes(up, "n1"))
    os.write(terminal, b"\x03")
    shows(b"$ ")
    os.write(terminal, b"exit 7\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    os.close(terminal)


def test_run_gives_each_node_its_part_and_takes_all_down() -> None:
    script = "echo $NODE of $PEERS; echo here > $DATA_DIR/$NODE; ls $DATA_DIR"
    done = run("run", "3", "--no-daemons", "--name", f"run-{os.getpid()}", "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "n1 | n1", "n1 | n1 of n2,n3", "n2 | n2", "n2 | n2 of n1,n3", "n3 | n3", "n3 | n3 of n1,n2",
    ]  # fmt: skip
    assert f"run-{os.getpid()}" not in run("ls").stdout


def test_run_fails_when_the_program_does() -> None:
    done = run("run", "2", "--no-daemons", "--name", f"bad-{os.getpid()}", "--", "sh", "-c", "test $NODE = n1")
    assert done.returncode == 1
    assert done.stderr == "trogdor: the program failed: on n2 with 1\n"


def test_ctrl_c_ends_run_and_takes_all_down() -> None:
    name = f"int-{os.getpid()}"
    script = 'trap "echo told; exit 0" TERM; echo ready; while :; do sleep 0.1; done'
    with started("run", "2", "--no-daemons", "--name", name, "--", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert {process.stdout.readline() for _ in range(2)} == {"n1 | ready\n", "n2 | ready\n"}
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert {"n1 | told", "n2 | told"} <= set(out.splitlines())
    assert "interrupted" in errors
    assert name not in run("ls").stdout
