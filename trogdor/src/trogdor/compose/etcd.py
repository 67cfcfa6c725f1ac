"""The resolver ``etcd``: which nodes lead or follow, by etcd's JSON gateway (``/v3``, etcd 3.4 and later)."""

import http.client
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from trogdor.topology import Node, Topology

PORT = 2379
TIMEOUT_S = 1.0


def resolve(topology: Topology, role: str, options: Mapping[str, Any]) -> list[str]:
    """The nodes whose member is ``leader`` or ``follower``. Options: ``port`` (2379), ``nodes`` (all with an agent).

    A member that does not answer has no role. Raises ValueError for another role.
    """
    if role not in ("leader", "follower"):
        raise ValueError(f"role: leader or follower is wanted, not {role!r}")
    nodes = [topology.nodes[name] for name in options.get("nodes") or topology.agents()]
    port = int(options.get("port", PORT))
    with ThreadPoolExecutor(max_workers=min(32, len(nodes) or 1)) as threads:
        leads = dict(
            zip((node.name for node in nodes), threads.map(lambda node: _leads(node, port), nodes), strict=True)
        )
    return [name for name, is_leader in leads.items() if is_leader is (role == "leader")]


def _leads(node: Node, port: int) -> bool | None:
    connection = http.client.HTTPConnection(node.hostname, port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", "/v3/maintenance/status", b"{}")
        status = json.loads(connection.getresponse().read())
        return bool(status["leader"] == status["header"]["member_id"])
    except (OSError, ValueError, KeyError, http.client.HTTPException):
        return None
    finally:
        connection.close()
