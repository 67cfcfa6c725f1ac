"""``ducktape --cluster trogdor.ducktape.LabCluster``: nodes on this machine, made for the run and gone after it."""

from __future__ import annotations

import atexit
import json
import os
from contextlib import ExitStack
from typing import Any

from trogdor.claim.place import Place
from trogdor.ducktape import sshd
from trogdor.ducktape.tags import TaggedCluster
from trogdor.lab import Lab

NODES = "TROGDOR_LAB_NODES"
SHARE = "TROGDOR_LAB_SHARE"
_DEFAULT_NODES = 4


class LabCluster(TaggedCluster):
    """A lab whose nodes have sshd, and this process inside its network, at the coordinator's address.

    So everything in ducktape's process, and in those that it forks, reaches the nodes as it would reach a cluster's,
    and no longer the machine's network, which is left as it was. Needs root.

    cluster_file: ``{"nodes": 5}``, or ``{"nodes": [{"tags": ["ssd"], "node_type": "large"}, {}]}``; if it is absent,
        as many nodes as $TROGDOR_LAB_NODES says, or 4.
    Raises LabError that says why there can be no such lab here; ValueError for a bad file.
    """

    def __init__(self, *, cluster_file: str | None = None, **kwargs: Any) -> None:
        described = _described(cluster_file)
        self._owner = os.getpid()
        self._stack = ExitStack()
        atexit.register(self.close)
        try:
            share = [path for path in os.environ.get(SHARE, "").split(os.pathsep) if path]
            lab = self._stack.enter_context(Lab(len(described), share=share))
            key = sshd.start(lab)
            pid = lab.coordinator.pid
            assert pid is not None, "root sees the processes of its labs"
            place = Place.of_process(pid)
            self._stack.callback(place.close)
            self._stack.enter_context(place.entered())
            nodes = [
                {
                    **node,
                    "ssh_config": _ssh_config(each.name, each.address, key),
                    "externally_routable_ip": each.address,
                }
                for node, each in zip(described, lab.nodes.values(), strict=True)
            ]
            super().__init__({"nodes": nodes}, **kwargs)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the lab and leaves its network; nothing in a process that was forked from the owner."""
        if os.getpid() == self._owner:
            self._stack.close()


def _ssh_config(name: str, address: str, key: os.PathLike[str]) -> dict[str, Any]:
    return {"host": name, "hostname": address, "user": "root", "port": 22, "identityfile": os.fspath(key)}


def _described(cluster_file: str | None) -> list[dict[str, Any]]:
    """What the file says of each node."""
    if cluster_file and os.path.exists(cluster_file):
        with open(cluster_file) as file:
            nodes = json.load(file).get("nodes")
        where = cluster_file
    else:
        nodes, where = os.environ.get(NODES, str(_DEFAULT_NODES)), f"${NODES}"
        nodes = int(nodes) if nodes.isdigit() else nodes
    if isinstance(nodes, int) and nodes > 0:
        return [{} for _ in range(nodes)]
    if isinstance(nodes, list) and nodes and all(isinstance(node, dict) and "ssh_config" not in node for node in nodes):
        return nodes
    raise ValueError(f'{where}: a lab has a number of nodes, or [{{"tags": […]}}, …] without ssh_config, not {nodes!r}')
