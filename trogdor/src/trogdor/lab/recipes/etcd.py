"""A real etcd cluster on a lab's nodes.

    with Lab(nodes=3) as lab, Etcd(lab) as etcd:
        etcd.put("greeting", "hello")
        print(etcd.leader())

Nothing is asked through etcdctl: requests go to etcd's JSON gateway (the `/v3` routes of etcd 3.4 and
later) over connections that the nodes open themselves, so what a node can do is what a client on it can.
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import shutil
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

from trogdor.lab.http import NodeHTTPConnection
from trogdor.lab.lab import Lab
from trogdor.lab.node import Node
from trogdor.lab.recipes.servers import Servers
from trogdor.lab.runtime import LabError

CLIENT_PORT, PEER_PORT = 2379, 2380
DATA_DIRECTORY = "/mnt/etcd"


class EtcdError(Exception):
    """A request that etcd did not carry out, or whose outcome is not known."""


class Etcd(Servers):
    """A cluster, one member on each of the nodes; the members have the nodes' names.

    nodes: the names; all of the lab's if absent. ETCD_BIN in the environment names another binary than
    the `etcd` of PATH. Raises LabError when there is none, or when the cluster is not ready in time.
    """

    system, log = "etcd", "etcd"

    def __init__(self, lab: Lab, nodes: Sequence[str] | None = None, *, ready_timeout_s: float = 30.0) -> None:
        super().__init__(lab)
        self._nodes: dict[str, Node] = {name: lab.node(name) for name in nodes or lab.nodes}
        self._binary = find_binary()
        self._bring_up(self._nodes, self._start_member, self._has_leader, ready_timeout_s)
        self._names: dict[str, str] = {member["ID"]: member["name"] for member in self.members()}

    def _start_member(self, name: str) -> None:
        node = self._nodes[name]
        cluster = ",".join(f"{other.name}=http://{other.address}:{PEER_PORT}" for other in self._nodes.values())
        flags = {
            "name": name,
            "data-dir": DATA_DIRECTORY,
            "listen-client-urls": f"http://0.0.0.0:{CLIENT_PORT}",
            "advertise-client-urls": f"http://{node.address}:{CLIENT_PORT}",
            "listen-peer-urls": f"http://0.0.0.0:{PEER_PORT}",
            "initial-advertise-peer-urls": f"http://{node.address}:{PEER_PORT}",
            "initial-cluster": cluster,
            # Without it a member that comes back from behind a partition deposes the leader of the others.
            "pre-vote": "true",
            "logger": "zap",
            "log-outputs": "stderr",
        }
        environment = {**os.environ}
        if platform.machine() != "x86_64":
            environment["ETCD_UNSUPPORTED_ARCH"] = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
        self._run(name, [self._binary, *(f"--{flag}={value}" for flag, value in flags.items())], environment)

    def _has_leader(self, name: str) -> bool:
        try:
            return int(self.status(name, timeout_s=1.0).get("leader", 0)) != 0
        except EtcdError:
            return False

    def put(
        self, key: str, value: str, node: str | None = None, *, client: Node | None = None, timeout_s: float = 5.0
    ) -> None:
        """Write through a member; once this returns, a majority has it. Raises EtcdError.

        client: the node from which the member is asked; the member's own, over its loopback, if absent.
        """
        self._ask(node, "/v3/kv/put", {"key": _encode(key), "value": _encode(value)}, timeout_s, client)

    def get(self, key: str, node: str | None = None, *, timeout_s: float = 5.0) -> str | None:
        """The value, read linearizably through a member; None if there is none. Raises EtcdError."""
        found = self._ask(node, "/v3/kv/range", {"key": _encode(key)}, timeout_s).get("kvs", [])
        return _decode(found[0].get("value", "")) if found else None

    def keys(self, prefix: str, node: str | None = None, *, timeout_s: float = 5.0) -> list[str]:
        """All keys that begin with `prefix` (ASCII), in order, read linearizably. Raises EtcdError."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        body = {"key": _encode(prefix), "range_end": _encode(end), "keys_only": True}
        return [_decode(pair["key"]) for pair in self._ask(node, "/v3/kv/range", body, timeout_s).get("kvs", [])]

    def members(self, node: str | None = None) -> list[dict[str, Any]]:
        """The cluster as a member knows it: `ID`, `name`, `peerURLs`, `clientURLs`. Raises EtcdError."""
        found: list[dict[str, Any]] = self._ask(node, "/v3/cluster/member/list", {}, 5.0)["members"]
        return found

    def status(self, node: str, *, timeout_s: float = 5.0) -> dict[str, Any]:
        """A member's own status: `leader`, `raftTerm`, `raftIndex`, … (numbers as text). Raises EtcdError."""
        return self._ask(node, "/v3/maintenance/status", {}, timeout_s)

    def leader(self, ask: str | Sequence[str] | None = None, *, timeout_s: float = 5.0) -> str | None:
        """The leader's node as the member on `ask` sees it now, None if it sees none. Raises EtcdError.

        ask: a node, or several that must agree: None if they do not.
        """
        asked = [ask] if isinstance(ask, str) else list(ask or self._nodes)[: None if ask else 1]
        named = {self._names.get(self.status(node, timeout_s=timeout_s).get("leader", "0")) for node in asked}
        return named.pop() if len(named) == 1 else None

    def _ask(
        self, node: str | None, path: str, body: dict[str, Any], timeout_s: float, client: Node | None = None
    ) -> dict[str, Any]:
        asked = self._nodes[node or next(iter(self._nodes))]
        host = asked.address if client else "127.0.0.1"
        connection = NodeHTTPConnection(client or asked, host, CLIENT_PORT, timeout_s)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise EtcdError(f"{asked.name}: {error or type(error).__name__}") from None
        finally:
            connection.close()
        if response.status != 200:
            raise EtcdError(f"{asked.name}: {response.status}: {text.decode(errors='replace').strip()}")
        answer: dict[str, Any] = json.loads(text)
        return answer


def find_binary() -> str:
    """`ETCD_BIN`, or the `etcd` of PATH. Raises LabError that says how to get one."""
    wanted = os.environ.get("ETCD_BIN", "etcd")
    binary = shutil.which(wanted)
    if binary is None:
        raise LabError(
            f"no etcd: {wanted!r} is not found. On Debian and Ubuntu: apt-get install etcd-server;"
            " else set ETCD_BIN to the binary"
        )
    return os.path.realpath(binary)


def _encode(text: str) -> str:
    return b64encode(text.encode()).decode()


def _decode(text: str) -> str:
    return b64decode(text).decode()
