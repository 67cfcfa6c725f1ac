"""What a lab is to be: decided by its owner, carried out by its keeper, and kept for whoever attaches.

The keeper's modules (this one, `keeper`, `kernel`, `mounts`, `node_init`, `rtnetlink`) import little, and
neither dataclasses, typing nor pathlib: a lab of three nodes is up sooner than those are imported.
"""

from __future__ import annotations

import json
import re

NODES_MAX = 250
COORDINATOR = "coordinator"
OWN_DIRECTORIES = ("/mnt", "/tmp", "/var/lib/trogdor", "/var/log")
LOG_DIRECTORY = "/var/log"

_COORDINATOR_HOST = 254
_PREFIX, _PREFIX6 = 24, 64
_NAME = re.compile(r"[a-z][a-z0-9-]{0,14}")


class NodePlan:
    """A node's name and addresses. `address6` is empty on a machine without IPv6."""

    def __init__(self, name: str, host: int, ipv6: bool) -> None:
        self.name, self.host, self.ipv6 = name, host, ipv6
        self.address = f"10.66.0.{host}"
        self.address6 = f"fd66:6c61:6200::{host:x}" if ipv6 else ""
        self.mac = bytes((0x02, 0x74, 0x64, 0, 0, host))

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Each address with the length of its network's prefix."""
        return ((self.address, _PREFIX), (self.address6, _PREFIX6))[: 1 + self.ipv6]


class Plan:
    """A lab. `state` holds a directory for each node, `runtime` the sockets by which it is reached."""

    def __init__(
        self,
        *,
        name: str,
        nodes: list[NodePlan],
        state: str,
        runtime: str,
        keep_state: bool,
        directories: list[str],
        share: list[str],
    ) -> None:
        self.name, self.nodes, self.state, self.runtime = name, nodes, state, runtime
        self.keep_state, self.directories, self.share = keep_state, directories, share

    def to_json(self) -> str:
        nodes = [[node.name, node.host, node.ipv6] for node in self.nodes]
        return json.dumps({**vars(self), "nodes": nodes})

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Raises ValueError, TypeError or KeyError when the text is no plan."""
        fields = json.loads(text)
        return cls(**{**fields, "nodes": [NodePlan(*node) for node in fields["nodes"]]})

    def home(self, node: str) -> str:
        """The directory on the host that holds a node's own files."""
        return f"{self.state}/{node}"

    def control(self, node: str) -> str:
        """The socket of a node's pid 1."""
        return f"{self.runtime}/{node}.init"


def plan_nodes(nodes: int | list[str], ipv6: bool) -> list[NodePlan]:
    """The nodes, and after them the coordinator's, with addresses. Raises ValueError for bad names."""
    names = [f"n{number}" for number in range(1, nodes + 1)] if isinstance(nodes, int) else list(nodes)
    if not 1 <= len(names) <= NODES_MAX:
        raise ValueError(f"a lab has 1 to {NODES_MAX} nodes, not {len(names)}")
    for name in names:
        if not _NAME.fullmatch(name) or name == COORDINATOR or names.count(name) > 1:
            raise ValueError(
                f"bad node name {name!r}: 1 to 15 of a-z, 0-9 and -, a letter first, each once, not {COORDINATOR!r}"
            )
    hosts = [*enumerate(names, start=1), (_COORDINATOR_HOST, COORDINATOR)]
    return [NodePlan(name, host, ipv6) for host, name in hosts]
