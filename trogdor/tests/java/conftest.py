"""Java Trogdor's own jars, and daemons of both kinds on loopback."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from trogdor.client import AgentClient, Client, ClientError
from trogdor.lab.recipes.jars import class_path

DEADLINE_S = 120.0
SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="session")
def jars() -> str:
    """The class path of Java Trogdor. Skips where there is no Java or Maven."""
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here (Debian: default-jdk-headless, maven)")
    return class_path("trogdor-4.1.0")


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Daemons:
    """One node with an agent, one with a coordinator; each ours or Java's."""

    directory: Path
    jars: str
    agent_port: int = field(default_factory=free_port)
    coordinator_port: int = field(default_factory=free_port)
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.config = self.directory / "trogdor.json"
        nodes = {
            "node0": {"hostname": "localhost", "trogdor.agent.port": self.agent_port},
            "c": {"hostname": "localhost", "trogdor.coordinator.port": self.coordinator_port},
        }
        platform = "org.apache.kafka.trogdor.basic.BasicPlatform"
        self.config.write_text(json.dumps({"platform": platform, "nodes": nodes}))

    @property
    def client(self) -> Client:
        return Client(f"localhost:{self.coordinator_port}", DEADLINE_S)

    @property
    def agent_client(self) -> AgentClient:
        return AgentClient(f"localhost:{self.agent_port}", DEADLINE_S)

    def java(self, daemon: str) -> None:
        """Starts Java's ``agent`` or ``coordinator`` and returns once it answers."""
        name = f"org.apache.kafka.trogdor.{daemon}.{daemon.capitalize()}"
        node = "node0" if daemon == "agent" else "c"
        options = [f"--{daemon}.config", str(self.config), "--node-name", node]
        self._start(daemon, ["java", "-Xmx256m", "-cp", self.jars, name, *options])

    def ours(self, daemon: str) -> None:
        """Starts our ``agent`` or ``coordinator`` and returns once it answers."""
        node = "node0" if daemon == "agent" else "c"
        options = ["-c", str(self.config), "-n", node, "--state", str(self.directory / daemon)]
        self._start(daemon, [sys.executable, "-m", "trogdor", daemon, *options])

    def _start(self, daemon: str, command: list[str]) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])}
        log = self.directory / f"{daemon}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        self.processes.append(process)
        end = time.monotonic() + DEADLINE_S
        client = self.agent_client if daemon == "agent" else self.client
        while True:
            try:
                client.status()
                return
            except ClientError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)

    def run_java(self, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs one of Java's clients."""
        command = ["java", "-Xmx128m", "-cp", self.jars, f"org.apache.kafka.trogdor.{name}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL)

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def daemons(jars: str, tmp_path: Path) -> Iterator[Daemons]:
    """None started yet."""
    made = Daemons(tmp_path, jars)
    yield made
    made.close()
