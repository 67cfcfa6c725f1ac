"""Daemons on machines that are reached by ssh: the lab's nodes, from the coordinator's place."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.waiting import state_of
from trogdor.deploy.wheels import Wheels, make
from trogdor.ducktape import sshd
from trogdor.lab import Lab, Node
from trogdor.lab.node import NodeProcess

if os.geteuid() != 0 or not shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin"):
    pytest.skip("sshd in nodes needs root and openssh-server", allow_module_level=True)

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("deploy")]

PREFIX = "/opt/trogdor"
UNITS = "/etc/systemd/system"
SUDOERS = "Defaults secure_path=/usr/sbin:/usr/bin:/sbin:/bin\n{} ALL=(ALL) NOPASSWD: ALL\n"


@dataclass(frozen=True)
class Hosts:
    lab: Lab
    ssh_config: Path


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    return make(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="module")
def hosts(wheels: Wheels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Two nodes with sshd, whose /opt/trogdor and systemd units are their own."""
    shared = tmp_path_factory.mktemp("ssh")
    with Lab(2, directories=[PREFIX, UNITS], share=[wheels.directory, shared]) as lab:
        key = shutil.copy(sshd.start(lab), shared)
        settings = [f"IdentityFile {key}", "StrictHostKeyChecking no", "UserKnownHostsFile /dev/null", "LogLevel ERROR"]
        config = shared / "config"
        config.write_text("\n".join([*settings, ""]))
        yield Hosts(lab, config)


@pytest.fixture(scope="module")
def operator(hosts: Hosts) -> Path:
    """A login of n2 that is not root's: it and what it may do, which this file says, are that node's alone."""
    if not shutil.which("sudo"):
        pytest.skip("no sudo here: apt-get install sudo")
    node = hosts.lab.nodes["n2"]
    home = node.path(sshd.HOME)
    for file, text in (
        ("/etc/passwd", f"{Path('/etc/passwd').read_text()}operator:*:4711:4711::/:/bin/sh\n"),
        ("/etc/sudoers", SUDOERS.format("operator")),
    ):
        ours = home / Path(file).name
        ours.write_text(text)
        ours.chmod(0o440 if file == "/etc/sudoers" else 0o644)
        node.exec(["mount", "--bind", f"{sshd.HOME}/{ours.name}", file], check=True)
    home.chmod(0o755)
    (home / "authorized_keys").chmod(0o644)  # sshd reads it as the one who logs in
    return home / "sudoers"


def run(hosts: Hosts, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """``trogdor …`` at the coordinator's place."""
    path = os.pathsep.join([str(Path(__file__).parents[2] / "src"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "trogdor", *arguments, "--ssh-config", str(hosts.ssh_config)]
    return hosts.lab.coordinator.exec(command, timeout=300, env={**os.environ, "PYTHONPATH": path})


def ask(hosts: Hosts, node: str, port: int, path: str) -> dict[str, Any]:
    answer = hosts.lab.coordinator.exec(
        ["curl", "-sS", f"http://{hosts.lab.nodes[node].address}:{port}{path}"], check=True
    )
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def traces(hosts: Hosts, name: str) -> set[str]:
    """All files and processes of a node, but the pid 1's and sshd's."""
    node = hosts.lab.nodes[name]
    places = [PREFIX, UNITS, "/mnt", "/var/lib/trogdor"]
    files = node.exec(["find", *places, "-mindepth", "1", "-not", "-path", "*/ssh/*"], check=True).stdout.split("\n")
    return {*files, *(each.command for each in node.processes() if "sshd" not in each.command)}


def test_daemons_are_installed_checked_and_removed_exactly(hosts: Hosts, wheels: Wheels, operator: Path) -> None:
    """By root's login on one, and on the other by sudo."""
    before = {name: traces(hosts, name) for name in hosts.lab.nodes}
    first, second = hosts.lab.nodes.values()
    where = ["--ssh", f"n1=root@{first.address},n2=operator@{second.address}", "--sudo"]
    deploy = ["deploy", *where, "--coordinator", "n1", "--wheels", str(wheels.directory)]
    with second.popen(["sleep", "987655"]) as sleeper:
        try:
            made = run(hosts, *deploy)
            assert made.returncode == 0, made.stderr
            assert f"n1: coordinator {wheels.version} answers on port 8889" in made.stdout
            assert f"n2: agent {wheels.version} answers on port 8888" in made.stdout
            started = ask(hosts, "n2", 8888, "/agent/status")["serverStartMs"]
            assert list(ask(hosts, "n1", 8889, "/coordinator/nodes")["nodes"]) == ["n2"]
            home = f"{PREFIX}/{wheels.version}"
            prefix = second.exec([f"{home}/venv/bin/python", "-I", "-c", "import trogdor; print(trogdor)"])
            assert f"{home}/venv/lib" in prefix.stdout, prefix.stderr
            digest = second.path(f"{home}/digest")
            digest.write_text("another wheel's\n")
            again = run(hosts, *deploy)
            assert again.returncode == 0, again.stderr
            assert digest.read_text().strip() == wheels.digest
            assert ask(hosts, "n2", 8888, "/agent/status")["serverStartMs"] > started
            kill_in_a_fault(second, home, sleeper)
        finally:
            last = run(hosts, "undeploy", *where)
        assert last.returncode == 0, last.stderr
        assert f"n2: removed {home}" in last.stdout
        assert state_of(second, sleeper) == "S", "the dead agent's fault is undone before its installation goes"
    assert {name: traces(hosts, name) for name in hosts.lab.nodes} == before
    nothing = run(hosts, "undeploy", *where)
    assert nothing.stdout.splitlines() == [f"{name}: nothing of ours is in {PREFIX}" for name in hosts.lab.nodes]


def kill_in_a_fault(node: Node, home: str, sleeper: NodeProcess) -> None:
    """Has the node's agent stop the sleeper, and kills it and its warden."""
    spec = {
        "class": "trogdor.fault.ProcessPauseFaultSpec",
        "startMs": round(time.time() * 1000),
        "durationMs": 600000,
        "nodeNames": [node.name],
        "match": {"pattern": "^sleep 987655$"},
    }
    body = json.dumps({"workerId": 1, "taskId": "pause", "spec": spec})
    url = "http://127.0.0.1:8888/agent/worker/create"
    node.exec(["curl", "-sS", "-H", "Content-Type: application/json", "-d", body, url], check=True)
    stopped = f"until grep -q '^State:.T' /proc/{sleeper.pid}/status; do sleep 0.05; done"
    node.exec(["sh", "-c", stopped], timeout=60, check=True)
    ours = [str(each.pid) for each in node.processes() if home in each.command]
    assert {node.exec(["stat", "-c", "%U", f"/proc/{pid}"]).stdout for pid in ours} == {"root\n"}
    node.exec(["kill", "-KILL", *ours])
    assert state_of(node, sleeper) == "T"


SYSTEMCTL = r"""#!/bin/sh
# As much of systemctl as one unit needs, on a node without systemd: starts what ExecStart says, ends it.
for name; do :; done
case "$*" in
    restart*) setsid $(sed -n 's/^ExecStart=//p' /etc/systemd/system/$name.service) >/dev/null 2>&1 </dev/null &
        echo $! >/run/$name.pid ;;
    disable*) kill $(cat /run/$name.pid) && while [ -e /proc/$(cat /run/$name.pid) ]; do sleep 0.1; done
        rm /run/$name.pid ;;
esac
echo "$*" >>/run/systemctl.log
"""


def test_where_systemd_runs_the_daemon_is_its_unit(hosts: Hosts, wheels: Wheels) -> None:
    node = hosts.lab.nodes["n1"]
    program = node.path("/opt/trogdor/bin/systemctl")
    program.parent.mkdir()
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    node.exec(["mkdir", "-p", "/run/systemd/system"], check=True)
    node.exec(
        ["mount", "--bind", "/opt/trogdor/bin/systemctl", shutil.which("systemctl") or "/bin/systemctl"], check=True
    )
    where = ["--ssh", f"n1=root@{node.address}"]
    unit = node.path(f"{UNITS}/trogdor-agent.service")
    try:
        unit.write_text("a stranger's\n")
        refused = run(hosts, "deploy", *where, "--wheels", str(wheels.directory))
        assert f"{UNITS}/trogdor-agent.service is there already, and not ours" in refused.stderr
        assert unit.read_text() == "a stranger's\n"
        unit.unlink()
        made = run(hosts, "deploy", *where, "--wheels", str(wheels.directory))
        assert made.returncode == 0, made.stderr
        assert "(trogdor-agent.service)" in made.stdout
        if analyze := shutil.which("systemd-analyze"):
            checked = node.exec([analyze, "verify", f"{UNITS}/trogdor-agent.service"])
            assert "trogdor-agent.service" not in checked.stderr, checked.stderr
        gone = run(hosts, "undeploy", *where)
        assert gone.returncode == 0, gone.stderr
        assert not unit.exists()
        said = node.exec(["cat", "/run/systemctl.log"]).stdout.splitlines()
        assert said == [
            "daemon-reload", "enable --quiet trogdor-agent", "restart trogdor-agent",
            "disable --quiet --now trogdor-agent", "daemon-reload",
        ]  # fmt: skip
    finally:
        shutil.rmtree(program.parent)


def test_a_login_that_is_not_roots_and_may_not_use_sudo_changes_nothing(
    hosts: Hosts, wheels: Wheels, operator: Path
) -> None:
    before = traces(hosts, "n2")
    deploy = ["deploy", "--ssh", f"n2=operator@{hosts.lab.nodes['n2'].address}", "--wheels", str(wheels.directory)]
    operator.write_text(SUDOERS.format("stranger"))
    try:
        for arguments, said in (([], "Permission denied"), (["--sudo"], "sudo: a password is required")):
            refused = run(hosts, *deploy, *arguments)
            assert (refused.returncode, said in refused.stderr) == (6, True), refused.stderr
    finally:
        operator.write_text(SUDOERS.format("operator"))
    assert traces(hosts, "n2") == before


def test_what_cannot_be_deployed_changes_nothing_and_says_why(hosts: Hosts, wheels: Wheels) -> None:
    address = hosts.lab.nodes["n1"].address
    before = traces(hosts, "n1")
    folder = hosts.ssh_config.parent
    (folder / "trogdor.json").write_text('{"nodes": {"n1": {"hostname": "n1"}}}')
    wanted = ["--wheels", str(wheels.directory)]
    for arguments, code, said in (
        (["--ssh", f"n1=root@{address},n1=root@{address}"], 2, "n1 is named twice"),
        (["--ssh", f"root@{address}", "--coordinator", "n9"], 2, "--coordinator n9: none of"),
        (["--ssh", f"n1=root@{address},n8=n8", "-c", str(folder / "trogdor.json")], 2, "n8: no such node"),
        (
            ["--ssh", f"n1=root@{address}", "--python", "python2.6", "--prefix", "/mnt/none"],
            6,
            "Python 3.11 or newer is needed",
        ),
        (["--ssh", f"n1=root@{address}", "--wheels", str(folder)], 2, "no wheel of pytrogdor and pip"),
        (["--ssh", "n1=root@127.0.0.1"], 5, "Connection refused"),
    ):
        ran = run(hosts, "deploy", *wanted, *arguments)
        assert (ran.returncode, said in ran.stderr) == (code, True), f"{arguments}: {ran.returncode} {ran.stderr}"
    assert traces(hosts, "n1") == before
