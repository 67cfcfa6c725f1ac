"""Containers of a real engine as nodes, where one runs: Docker, or Podman as `podman system service` speaks its API."""

import http.client
import io
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from lab.agents import until
from lab.waiting import settled
from trogdor.attach import attach
from trogdor.client import Client
from trogdor.containers import Engine, EngineError

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("attach")]

NAME = f"trogdor-{secrets.token_hex(4)}"
PROJECT = {"com.docker.compose.project": NAME}
ADDRESSES = {"db": "10.98.1.1", "web": "10.98.1.2"}
CLOSED_PORT = 9
TIMEOUT_S = 120.0


def call(method: str, path: str, body: Any = None, **query: str) -> Any:
    """What the engine answers. Raises OSError when none does, AssertionError for an error of it."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.settimeout(TIMEOUT_S)
    connection.sock.connect(Engine.found().path)
    kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, f"{path}?{urlencode(query)}", data, {"Content-Type": kind})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status < 400, f"{method} {path}: {answer.status} {text}"
    return json.loads(text) if text.startswith("{") and "\n{" not in text.strip() else text


def image() -> bytes:
    """This machine's sleep, and the libraries that it needs, as a tar."""
    needed = subprocess.run(["ldd", "/bin/sleep"], capture_output=True, text=True, check=True).stdout
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", dereference=True) as archive:
        for path in ("/bin/sleep", *re.findall(r"(/\S+) \(0x", needed)):
            archive.add(path, path.lstrip("/"))
    return packed.getvalue()


@pytest.fixture
def containers() -> Iterator[dict[str, int]]:
    """Two containers of a compose project, joined by a pair of veth and nothing else: their pids by service."""
    if os.geteuid() != 0:
        pytest.skip("entering containers needs root")
    try:
        call("GET", "/_ping")
    except (OSError, EngineError) as error:
        pytest.skip(f"no container engine answers ({error}): start Docker, or `podman system service`")
    imported = str(call("POST", "/images/create", image(), fromSrc="-"))
    (sleeps,) = set(re.findall(r"[0-9a-f]{64}", imported))
    try:
        for service in ADDRESSES:
            labels = {**PROJECT, "com.docker.compose.service": service}
            wanted = {"Image": sleeps, "Cmd": ["/bin/sleep", "3600"], "Labels": labels}
            wanted["HostConfig"] = {"NetworkMode": "none"}
            call("POST", "/containers/create", wanted, name=f"{NAME}-{service}")
            call("POST", f"/containers/{NAME}-{service}/start")
        pids = {service: Engine.found().container(f"{NAME}-{service}").pid for service in ADDRESSES}
        join(pids)
        yield pids
    finally:
        for service in ADDRESSES:
            with suppress(AssertionError):
                call("DELETE", f"/containers/{NAME}-{service}", force="true", v="true")
        call("DELETE", f"/images/{sleeps}", force="true")


def join(pids: dict[str, int]) -> None:
    """One link between the two network namespaces; the machine's own is not touched."""
    ends = list(pids.values())
    inside(ends[0], ["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(ends[1])])
    for service, pid in pids.items():
        inside(pid, ["ip", "address", "add", f"{ADDRESSES[service]}/24", "dev", "eth0"])
        inside(pid, ["ip", "link", "set", "eth0", "up"])


def inside(pid: int, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """A program of this machine in a container's network."""
    entered = ["nsenter", "-t", str(pid), "-n", *command]
    return subprocess.run(entered, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)


def reaches(pid: int, address: str) -> bool:
    """Whether a segment gets there: a closed port answers, a cut link does not."""
    probe = (
        "import socket, sys\n"
        "try: socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1)\n"
        "except ConnectionRefusedError: print('refused')\n"
        "except TimeoutError: print('silence')\n"
    )
    return "refused" in inside(pid, [sys.executable, "-S", "-c", probe, address, str(CLOSED_PORT)]).stdout


def status(client: Client, task: str, node: str) -> Any:
    """A node's status, however many nodes the task has."""
    found: Any = client.task(task).get("status")
    of_node = found.get(node, found) if isinstance(found, dict) else {}
    return of_node if isinstance(of_node, dict) else {}  # a word, until it is received


def state(pid: int) -> str:
    """The letter of proc(5), S for R."""
    return settled(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0])


def test_containers_are_parted_and_paused_and_as_before_after(containers: dict[str, int]) -> None:
    there = ADDRESSES["web"]
    with attach(project=NAME) as attached:
        assert sorted(attached.nodes) == ["db", "web"]
        client = attached.client
        part = {"class": "NetworkPartitionFaultSpec", "partitions": [["db"], ["web"]], "durationMs": 600_000}
        pause = {
            "class": "ProcessPauseFaultSpec",
            "nodeNames": ["db"],
            "match": {"name": "sleep"},
            "durationMs": 600_000,
        }
        until(lambda: reaches(containers["db"], there), lambda: "the link is not up")
        client.create_task("part", part)
        until(lambda: status(client, "part", "web").get("verdict") == "seen", lambda: str(client.task("part")))
        assert not reaches(containers["db"], there)
        client.create_task("pause", pause)
        until(lambda: status(client, "pause", "db").get("verdict") == "seen", lambda: str(client.task("pause")))
        assert {name: state(pid) for name, pid in containers.items()} == {"db": "T", "web": "S"}
    assert {name: state(pid) for name, pid in containers.items()} == {"db": "S", "web": "S"}
    assert reaches(containers["db"], there)
