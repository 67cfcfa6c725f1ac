"""A real ZooKeeper ensemble on a lab's nodes (3.8, from the jars of Kafka 3.9.1).

with Lab(nodes=["zk1", "n1"]) as lab, Zookeeper(lab, ["zk1"]) as zookeeper:
    print(zookeeper.connect)
"""

from __future__ import annotations

from collections.abc import Sequence

from trogdor.lab.lab import Lab
from trogdor.lab.node import Node
from trogdor.lab.recipes.jars import java_command, kafka_class_path
from trogdor.lab.recipes.servers import Servers

CLIENT_PORT, PEER_PORT, ELECTION_PORT = 2181, 2888, 3888
HOME = "/mnt/zookeeper"
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
TICK_MS = 500
"""A session may be as short as two ticks."""

HEAP_MB = 96


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


class Zookeeper(Servers):
    """An ensemble, one server on each of the nodes. Raises LabError when it is not ready in time."""

    system, log = "ZooKeeper", "zookeeper"

    def __init__(self, lab: Lab, nodes: Sequence[str], *, ready_timeout_s: float = 120.0) -> None:
        super().__init__(lab)
        self._nodes: dict[str, Node] = {name: lab.node(name) for name in nodes}
        self._jars = kafka_class_path("kafka-3.9.1")
        self._bring_up(self._nodes, self._start, self._is_ready, ready_timeout_s)

    def _start(self, name: str) -> None:
        names, home = list(self._nodes), self._nodes[name].path(HOME)
        number = names.index(name) + 1
        (home / "data").mkdir(parents=True, exist_ok=True)
        (home / "data" / "myid").write_text(f"{number}\n")
        (home / "zookeeper.properties").write_text(properties(HOME, number, names))
        self._run(name, java_command(self._jars, MAIN, f"{HOME}/zookeeper.properties", heap_mb=HEAP_MB))

    def _is_ready(self, name: str) -> bool:
        return self.four_letters(name, "srvr").startswith("Zookeeper version")

    @property
    def connect(self) -> str:
        """The connection string for clients: `zk1:2181,…`."""
        return ",".join(f"{name}:{CLIENT_PORT}" for name in self._nodes)

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
