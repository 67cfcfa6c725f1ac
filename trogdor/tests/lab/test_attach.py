"""Namespaces of running processes and of an engine's containers as nodes of one agent on their machine, n5."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.agents import SOURCE, until
from lab.waiting import settled
from trogdor.attach.places import of_containers
from trogdor.client import Client
from trogdor.containers import Engine
from trogdor.lab import Lab
from trogdor.lab.node import Node

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("attach")]

STATE = "/mnt/attached"
ENGINE = "/mnt/engine"
CLOSED_PORT = 9
SET_UP = """
ip link add joined type bridge && ip addr add 10.98.0.254/24 dev joined && ip link set joined up
for each in "$@"; do
    number=${each%%:*}; pid=${each##*:}
    ip link add v$number type veth peer name eth0 netns $pid
    ip link set v$number master joined up
    nsenter -t $pid -n sh -c "ip addr add 10.98.0.$number/24 dev eth0; ip link set eth0 up; ip link set lo up"
done
"""
FAKE_ENGINE = '''
"""As much of the Docker Engine API as finding containers needs, over a Unix socket."""
import json, os, socketserver, sys
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

containers = json.loads(sys.argv[2])

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        parts = unquote(url.path).split("/")
        if url.path == "/containers/json":
            label = json.loads(parse_qs(url.query)["filters"][0])["label"][0].partition("=")[2]
            return self.answer(200, [{"Id": each["Id"]} for each in containers if each["project"] == label])
        for each in containers:
            if parts[2] in (each["Id"], each["Name"].lstrip("/")):
                return self.answer(200, each)
        self.answer(404, {"message": f"No such container: {parts[2]}"})

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def address_string(self):
        return "a client"

socketserver.ThreadingUnixStreamServer(sys.argv[1], Handler).serve_forever()
'''


@pytest.fixture
def machine(lab: Lab) -> Node:
    """The node that plays the machine."""
    return lab.node("n5")


@pytest.fixture
def inner(machine: Node) -> Iterator[dict[str, int]]:
    """Three processes in namespaces of their own, on one bridge: their pids by name."""
    with ExitStack() as stack:
        unshare = ["unshare", "--net", "--pid", "--mount-proc", "--fork", "--kill-child", "sleep"]
        for number in (1, 2, 3):
            stack.enter_context(machine.popen([*unshare, f"98760{number}"]))

        def found() -> dict[str, int]:
            running = {process.command: process.pid for process in machine.processes()}
            return {f"c{number}": running[f"sleep 98760{number}"] for number in (1, 2, 3)}

        pids: dict[str, int] = until(lambda: _or_none(found))
        numbered = [f"{number}:{pid}" for number, pid in enumerate(pids.values(), start=1)]
        machine.exec(["sh", "-ec", SET_UP, "sh", *numbered], check=True)
        for link in ("v1", "v2", "v3", "joined"):  # a namespace that ends lets go of its link some time later
            stack.callback(machine.exec, ["ip", "link", "del", link])
        yield pids


def _or_none(found: "type[dict[str, int]]") -> dict[str, int] | None:
    try:
        return found()
    except KeyError:
        return None


@pytest.fixture
def engine(machine: Node, inner: Mapping[str, int]) -> Iterator[dict[str, str]]:
    """A stand-in for Docker's daemon: the environment in which its socket is found."""
    containers = [
        {
            "Id": f"{number}" * 64,
            "Name": f"/shop-{name}",
            "State": {"Running": True, "Pid": pid, "Status": "running"},
            "Config": {"Labels": {"com.docker.compose.service": "db" if name == "c1" else "web"}},
            "project": "shop",
        }
        for number, (name, pid) in enumerate(inner.items(), start=1)
    ]
    stopped = {"Id": "9" * 64, "Name": "/old", "State": {"Running": False, "Pid": 0, "Status": "exited"}, "project": ""}
    command = [sys.executable, "-c", FAKE_ENGINE, f"{ENGINE}.sock", json.dumps([*containers, stopped])]
    machine.path(f"{ENGINE}.sock").unlink(missing_ok=True)
    with machine.popen(command, log="engine"):
        until(machine.path(f"{ENGINE}.sock").exists)
        yield {"DOCKER_HOST": f"unix://{ENGINE}.sock"}


def environment(further: Mapping[str, str] = {}) -> dict[str, str]:
    path = os.pathsep.join([os.fspath(SOURCE), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, **further}


def run(machine: Node, *arguments: str, env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "trogdor", "attach", *arguments]
    return machine.exec(command, timeout=240, env=env)


def reaches(machine: Node, pid: int, address: str) -> bool:
    """Whether a segment gets from a process's network to an address: a closed port answers, a cut link does not."""
    probe = (
        "import socket, sys\n"
        "try: socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1)\n"
        "except ConnectionRefusedError: sys.exit(0)\n"
        "except TimeoutError: sys.exit(1)\n"
    )
    words = ["nsenter", "-t", str(pid), "-n", sys.executable, "-S", "-c", probe, address, str(CLOSED_PORT)]
    return machine.exec(words).returncode == 0


def test_processes_are_parted_and_paused_each_in_its_own_namespaces(machine: Node, inner: dict[str, int]) -> None:
    before = [process.command for process in machine.processes()]
    pids = [word for name, pid in inner.items() for word in ("--pid", f"{name}={pid}")]
    command = [sys.executable, "-m", "trogdor", "attach", *pids, "--state", STATE]
    with machine.popen(command, env=environment(), log="attach") as attaching:
        until(lambda: "attached: c1 c2 c3" in machine.log("attach"), lambda: machine.log("attach"))
        with Client(f"unix:{machine.path(f'{STATE}/coordinator/coordinator.sock')}") as client:
            everywhere = {"startMs": 0, "durationMs": 600_000}
            parted = {"class": "NetworkPartitionFaultSpec", "partitions": [["c1"], ["c2", "c3"]], **everywhere}
            client.create_task("part", parted)
            until(lambda: verdicts(client, "part") == ["seen"] * 3, lambda: str(client.task("part")))
            assert not reaches(machine, inner["c1"], "10.98.0.2")
            assert not reaches(machine, inner["c3"], "10.98.0.1")
            assert reaches(machine, inner["c2"], "10.98.0.3")
            assert reaches(machine, inner["c1"], "10.98.0.254")
            match = {"name": "sleep"}
            paused = {"class": "ProcessPauseFaultSpec", "nodeNames": ["c2"], "match": match, **everywhere}
            client.create_task("pause", paused)
            until(lambda: verdicts(client, "pause") == ["seen"], lambda: str(client.task("pause")))
            assert states(machine, inner) == {"c1": "S", "c2": "T", "c3": "S"}
            attaching.send_signal(signal.SIGINT)
            assert attaching.wait(60) == 130
    assert states(machine, inner) == {"c1": "S", "c2": "S", "c3": "S"}
    assert reaches(machine, inner["c1"], "10.98.0.2")
    assert [process.command for process in machine.processes()] == before


def verdicts(client: Client, task: str) -> list[str]:
    """Of each node; one that has not answered yet is ``receiving``, upstream's word."""
    status = client.task(task).get("status") or {}
    nodes = [status] if isinstance(status, str) or "verdict" in status else status.values()
    return [each if isinstance(each, str) else each.get("verdict", "") for each in nodes]


def states(machine: Node, inner: Mapping[str, int]) -> dict[str, str]:
    running = {process.pid: settled(process.state) for process in machine.processes()}
    return {name: running[pid] for name, pid in inner.items()}


def test_a_command_runs_on_a_compose_project_and_its_exit_code_is_ours(
    machine: Node, inner: dict[str, int], engine: dict[str, str]
) -> None:
    partition = ["partition", "db", "/", "web-1", "web-2", "--for", "1s"]
    ran = run(machine, "--compose", "shop", "--", sys.executable, "-m", "trogdor", *partition, env=environment(engine))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "db" in ran.stdout
    assert "healed" in ran.stdout
    left = [path.name for path in Path(machine.path("/tmp")).glob("trogdor-attach-*")]
    assert left == []


class Started:
    """A container as testcontainers has it: what docker-py knows is wrapped."""

    def __init__(self, number: int) -> None:
        self.id = f"{number}" * 64

    def get_wrapped_container(self) -> "Started":
        return self


def test_testcontainers_own_objects_are_found(machine: Node, inner: dict[str, int], engine: dict[str, str]) -> None:
    asked = Engine(os.fspath(machine.path(f"{ENGINE}.sock")))
    found = of_containers([Started(2), "shop-c3"], asked)
    assert [(each.name, each.pid) for each in found] == [("shop-c2", inner["c2"]), ("shop-c3", inner["c3"])]


def test_the_configuration_names_containers_and_refuses_what_cannot_be_entered(
    machine: Node, inner: dict[str, int], engine: dict[str, str]
) -> None:
    env = environment(engine)
    shown = run(machine, "--container", "shop-c2", "--container", "1" * 64, "--print", env=env)
    nodes = json.loads(shown.stdout)["nodes"]
    assert {name: (node.get("place"), node["hostname"]) for name, node in nodes.items()} == {
        "host": (None, "127.0.0.1"),
        "coordinator": (None, "127.0.0.1"),
        "shop-c2": ({"container": "shop-c2"}, "10.98.0.2"),
        "shop-c1": ({"container": "shop-c1"}, "10.98.0.1"),
    }
    for arguments, code, said in (
        (["--pid", "1"], 6, "p1: it has no network namespace of its own, but that of this machine"),
        (["--pid", f"a={inner['c1']}", "--pid", f"b={inner['c1']}"], 6, "b: it has no network namespace of its own"),
        (["--pid", "db=x"], 2, "[NODE=]PID is wanted"),
        (["--container", "none"], 6, "No such container: none"),
        (["--container", "old"], 6, "container old does not run: it is exited"),
        (["--compose", "other"], 6, "no container of a compose project 'other' runs"),
        ([], 6, "nothing to attach is named"),
    ):
        refused = run(machine, *arguments, "--print", env=env)
        assert (refused.returncode, said in refused.stderr) == (code, True), f"{arguments}: {refused.stderr}"
    nobody = run(machine, "--container", "a", env=environment({"DOCKER_HOST": "unix:///mnt/nothing.sock"}))
    assert nobody.returncode == 6
    assert "no container engine answers at /mnt/nothing.sock" in nobody.stderr
