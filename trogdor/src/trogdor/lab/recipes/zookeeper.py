"""A real ZooKeeper ensemble on a lab's nodes (3.8, from the jars of Kafka 3.9.1).

with Lab(nodes=["zk1", "n1"]) as lab, Zookeeper(lab, ["zk1"]) as zookeeper:
    print(zookeeper.connect)
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from trogdor.lab.lab import Lab
from trogdor.lab.node import Node, NodeProcess
from trogdor.lab.recipes.jars import java_command, kafka_class_path
from trogdor.lab.runtime import LabError

CLIENT_PORT, PEER_PORT, ELECTION_PORT = 2181, 2888, 3888
HOME = "/mnt/zookeeper"
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
TICK_MS = 500
"""A session may be as short as two ticks."""

HEAP_MB = 96
LOG = "zookeeper"
_POLL_S = 0.02


def properties(home: str, number: int, servers: Sequence[str]) -> str:
    """The configuration of the server with this number, from 1; ``servers`` are the names they reach each other by."""
    lines = [
        f"tickTime={TICK_MS}", "initLimit=20", "syncLimit=10", f"dataDir={home}/data",
        f"clientPort={CLIENT_PORT}", f"clientPortAddress={servers[number - 1]}", "admin.enableServer=false",
        "4lw.commands.whitelist=ruok,mntr,srvr,cons",
    ]  # fmt: skip
    if len(servers) > 1:
        lines += [f"server.{each}={name}:{PEER_PORT}:{ELECTION_PORT}" for each, name in enumerate(servers, start=1)]
    return "\n".join(lines) + "\n"


class Zookeeper:
    """An ensemble, one server on each of the nodes. Raises LabError when it is not ready in time."""

    def __init__(self, lab: Lab, nodes: Sequence[str], *, ready_timeout_s: float = 120.0) -> None:
        self._nodes: dict[str, Node] = {name: lab.node(name) for name in nodes}
        self._processes: dict[str, NodeProcess] = {}
        try:
            jars = kafka_class_path("kafka-3.9.1")
            for number, node in enumerate(self._nodes.values(), start=1):
                self._start(jars, number, node)
            self._await_ready(time.monotonic() + ready_timeout_s)
        except BaseException:
            self.close()
            raise

    def _start(self, jars: str, number: int, node: Node) -> None:
        home = node.path(HOME)
        (home / "data").mkdir(parents=True, exist_ok=True)
        (home / "data" / "myid").write_text(f"{number}\n")
        text = properties(HOME, number, [each.name for each in self._nodes.values()])
        (home / "zookeeper.properties").write_text(text)
        command = java_command(jars, MAIN, f"{HOME}/zookeeper.properties", heap_mb=HEAP_MB)
        self._processes[node.name] = node.popen(command, log=LOG)

    def _await_ready(self, until: float) -> None:
        for name, process in self._processes.items():
            node = self._nodes[name]
            while not self.four_letters(name, "srvr").startswith("Zookeeper version"):
                if process.poll() is not None:
                    raise LabError(f"ZooKeeper on {name} ended with {process.returncode}:\n{node.log(LOG)[-2000:]}")
                if time.monotonic() > until:
                    raise LabError(f"ZooKeeper on {name} is not ready:\n{node.log(LOG)[-2000:]}")
                time.sleep(_POLL_S)

    @property
    def connect(self) -> str:
        """The connection string for clients: `zk1:2181,…`."""
        return ",".join(f"{name}:{CLIENT_PORT}" for name in self._nodes)

    @property
    def processes(self) -> dict[str, NodeProcess]:
        """The servers' processes by node."""
        return dict(self._processes)

    def four_letters(self, name: str, word: str) -> str:
        """What the server on a node answers to a four letter word; empty when it does not answer."""
        node = self._nodes[name]
        try:
            with node.connect(node.address, CLIENT_PORT, 2.0) as stream:
                stream.sendall(word.encode())
                answer = b""
                while part := stream.recv(65536):
                    answer += part
                return answer.decode(errors="replace")
        except OSError:
            return ""

    def close(self) -> None:
        """Kill every server."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait(30)

    def __enter__(self) -> Zookeeper:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()
