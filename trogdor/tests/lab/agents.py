"""Agents on a lab's nodes, driven by raw HTTP as a coordinator would drive them."""

import http.client
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trogdor.lab import Lab
from trogdor.lab.http import NodeHTTPConnection
from trogdor.lab.node import Node, NodeProcess

WAIT_S = 60.0
PORT = 18888
SOURCE = Path(__file__).resolve().parents[2] / "src"
TOPOLOGY = "/var/lib/trogdor/agents.json"
MS = 1_000_000
LINKS = "trogdor.fault.CutLinksFaultSpec"
PARTITION = "org.apache.kafka.trogdor.fault.NetworkPartitionFaultSpec"


def boot_ns() -> int:
    """Now, in ns of CLOCK_BOOTTIME; the nodes' is the same."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def until(holds: Callable[[], Any], why: Callable[[], str] = str) -> Any:
    """Waits until something is true, and returns it."""
    deadline = time.monotonic() + WAIT_S
    while not (value := holds()):
        assert time.monotonic() < deadline, f"waited for {WAIT_S} s: {why()}"
        time.sleep(0.02)
    return value


_HIDE = 'mount --bind /dev/null "$(ldconfig -p | sed -n "s/.*libnftables.so.1.* => //p" | head -1)" && exec "$@"'
WITHOUT_LIBNFTABLES = ("--mount", "sh", "-c", _HIDE, "sh")
"""Options of unshare, with which the command after them does not find it."""


class LabAgent:
    """One node's agent."""

    def __init__(self, node: Node, program: Sequence[str] = ("-m", "trogdor"), wrapper: Sequence[str] = ()) -> None:
        """``program``: Python's arguments that stand for the command ``trogdor``; ``wrapper``: a command before it."""
        self.node = node
        self._wrapper = wrapper
        self._program = program
        self.process: NodeProcess = self._start()

    def _start(self) -> NodeProcess:
        path = os.pathsep.join([os.fspath(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
        return self.node.popen(
            [*self._wrapper, sys.executable, *self._program, "agent", "-c", TOPOLOGY, "-n", self.node.name],
            log="agent-alone",
            env={**os.environ, "PYTHONPATH": path},
        )

    @property
    def log(self) -> str:
        return self.node.log("agent-alone")

    def start_again(self) -> None:
        """Starts it anew, after it was killed."""
        self.process.close()
        self.process = self._start()
        self.wait_until_it_answers()

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A request over the node's loopback, and its answer."""
        connection = NodeHTTPConnection(self.node, "127.0.0.1", PORT, WAIT_S)
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"} if content else {})
        answer = connection.getresponse()
        read = answer.status, json.loads(answer.read())
        connection.close()
        return read

    def wait_until_it_answers(self) -> None:
        def answers() -> bool:
            assert self.process.poll() is None, self.log
            try:
                return self.send("GET", "/agent/status")[0] == 200
            except (OSError, http.client.HTTPException):
                return False

        until(answers, lambda: self.log)

    def arm(self, worker_id: int, spec: Any, start_ns: int, for_ms: int, **fields: Any) -> Any:
        """Arms a worker; the answer must be 200."""
        body = {
            "workerId": worker_id, "taskId": f"t{worker_id}", "coordinator": "test", "spec": spec,
            "startNs": start_ns, "endNs": start_ns + for_ms * MS, "leaseNs": 3600 * 1000 * MS,
            "wallOffsetNs": time.time_ns() - boot_ns(), **fields,
        }  # fmt: skip
        code, answer = self.send("POST", "/agent/worker/arm", body)
        assert code == 200, answer
        return answer

    def worker(self, worker_id: int) -> Any:
        return self.send("GET", "/agent/status")[1].get("workers", {}).get(str(worker_id))

    def when(self, worker_id: int, holds: Callable[[Any], Any]) -> Any:
        """A worker, once something is true of it."""
        shown: list[Any] = []

        def look() -> Any:
            shown.append(self.worker(worker_id))
            return shown[-1] if shown[-1] and holds(shown[-1]) else None

        return until(look, lambda: f"{shown[-1]}\n{self.log[-3000:]}")

    def done(self, worker_id: int) -> Any:
        """A worker, once it is done."""
        return self.when(worker_id, lambda shown: shown["state"] == "DONE")

    def verdict(self, worker_id: int) -> Any:
        """A worker, once its probe has said something."""
        return self.when(worker_id, lambda shown: (shown.get("status") or {}).get("verdict", "armed") != "armed")

    def stop(self, worker_id: int) -> None:
        self.send("PUT", "/agent/worker/stop", {"workerId": worker_id})

    def forget_all(self) -> None:
        for worker_id in self.send("GET", "/agent/status")[1].get("workers", {}):
            self.send("DELETE", f"/agent/worker?workerId={worker_id}")
        until(lambda: not self.send("GET", "/agent/status")[1].get("workers"))

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(WAIT_S)
        self.process.close()


@contextmanager
def running_agents(
    lab: Lab,
    names: list[str],
    program: Sequence[str] = ("-m", "trogdor"),
    *,
    further: Any = None,
    wrappers: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[dict[str, LabAgent]]:
    """An agent on each of these nodes, by name; ended after it, its journal removed: ids and clocks are a test's own.

    ``further``: more nodes of the configuration. ``wrappers``: node → a command that runs its agent.
    """
    nodes = {name: {"hostname": name, "trogdor.agent.port": PORT, "trogdor.external.commands": ["*"]} for name in names}
    for name in names:
        lab.node(name).path(TOPOLOGY).write_text(json.dumps({"nodes": nodes | (further or {})}))
    agents = {name: LabAgent(lab.node(name), program, (wrappers or {}).get(name, ())) for name in names}
    try:
        for agent in agents.values():
            agent.wait_until_it_answers()
        yield agents
    finally:
        for name, agent in agents.items():
            agent.end()
            shutil.rmtree(lab.node(name).path(f"/var/lib/trogdor/{name}"), ignore_errors=True)


def peers(agents: dict[str, LabAgent]) -> dict[str, Any]:
    """Where each node's probe answers, as a coordinator would tell it."""
    return {
        name: {
            "addresses": [agent.node.address],
            "probePort": agent.send("GET", "/agent/features")[1]["probePorts"][name],
        }
        for name, agent in agents.items()
    }
