"""A real agent as a process of its own, on loopback and on a Unix socket."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WAIT_S = 60.0
CONFIG = {
    "platform": "org.apache.kafka.trogdor.basic.BasicPlatform",
    "nodes": {
        "node0": {
            "hostname": "localhost", "trogdor.agent.port": 0, "trogdor.external.commands": ["/bin/sh", "./report.sh"],
        },
        "node1": {"hostname": "localhost", "trogdor.agent.port": 0},
    },
}  # fmt: skip


TROGDOR = "import ctypes; ctypes.CDLL(None).prctl(1, 15); from trogdor.cli.main import main; main()"
"""The command, that ends (SIGTERM) when the tests are killed."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=WAIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(WAIT_S)
        self.sock.connect(os.fspath(self._path))


class AgentProcess:
    """One agent, started with a configuration and a state directory."""

    def __init__(self, directory: Path, *options: str, node: str = "node0", program: str = TROGDOR) -> None:
        self.directory = directory
        self.config = directory / "config.json"
        self.config.write_text(json.dumps(CONFIG))
        self.state = directory / "state"
        self.socket = self.state / node / "agent.sock"
        self.log = directory / f"agent.{len(list(directory.glob('agent.*.log')))}.log"
        command = [sys.executable, "-c", program, "agent", "-c", os.fspath(self.config), "-n", node]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--state", os.fspath(self.state), *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                start_new_session=True,
                cwd=directory,
            )

    def wait_until_it_answers(self) -> "AgentProcess":
        self.until(lambda: "Starting agent process." in self.log.read_text())
        return self

    def wait_until_loaded(self) -> None:
        """Until no thread runs: stacks of running ones cannot be shown safely, and one loads after the first answer."""
        self.until(lambda: "are faults here" in self.log.read_text())

    def until(self, holds: Callable[[], Any]) -> Any:
        """Waits until something is true and returns it."""
        deadline = time.monotonic() + WAIT_S
        while not (value := holds()):
            assert time.monotonic() < deadline, f"waited for {WAIT_S} s\n{self.log.read_text()}"
            assert self.process.poll() is None, f"the agent has ended\n{self.log.read_text()}"
            time.sleep(0.02)
        return value

    def send(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> tuple[int, Any]:
        """A request and its answer, as text parsed as JSON. Bytes are sent as they are."""
        connection = UnixConnection(self.socket)
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        connection.request(method, path, content, {"Content-Type": content_type} if content is not None else {})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text)

    @contextmanager
    def stream(self, path: str) -> Iterator[http.client.HTTPResponse]:
        """The answer of a route that goes on."""
        connection = UnixConnection(self.socket)
        connection.request("GET", path)
        answer = connection.getresponse()
        yield answer
        connection.close()

    def workers(self) -> dict[str, Any]:
        workers: dict[str, Any] = self.send("GET", "/agent/status")[1].get("workers", {})
        return workers

    def done(self, worker_id: int) -> Any:
        """A worker, once it is done."""
        return self.until(lambda: (shown := self.workers()[str(worker_id)])["state"] == "DONE" and shown)

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)


@pytest.fixture(scope="module")
def shared_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    started = AgentProcess(tmp_path_factory.mktemp("agent")).wait_until_it_answers()
    yield started
    started.end()


@pytest.fixture
def agent(shared_agent: AgentProcess) -> Iterator[AgentProcess]:
    """One agent for many tests; what a test made there is destroyed after it."""
    yield shared_agent
    for worker_id in shared_agent.workers():
        shared_agent.send("DELETE", f"/agent/worker?workerId={worker_id}")
    shared_agent.until(lambda: not shared_agent.workers())


@pytest.fixture
def own_agent(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent that the test may end."""
    started = AgentProcess(tmp_path).wait_until_it_answers()
    yield started
    started.end()
