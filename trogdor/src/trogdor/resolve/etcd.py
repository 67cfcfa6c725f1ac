"""etcd: the ``leader``, every ``follower``, a ``minority`` or a majority of the members.

A minority or majority is of the nodes that have a member, the leader among them unless ``with`` is ``followers``.
Options: ``endpoints`` (``n1:2379,…``; else every node is asked at ``port``, 2379), ``timeoutMs``.
"""

import http.client
import json
from typing import Any

from trogdor.resolve import DEFAULT_TIMEOUT_S, CannotResolve, Found, Options, ask_all, ends, node_at
from trogdor.topology import Topology

PORT = 2379
ROLES = ("leader", "follower", "minority", "majority", "members")
MAX_ANSWER_BYTES = 1 << 20


def resolve(topology: Topology, role: str, options: Options) -> Found:
    """The nodes whose members play this part now. Raises CannotResolve."""
    if role not in ROLES:
        raise CannotResolve(f"etcd knows no role {role!r}: there are {', '.join(ROLES)}")
    timeout_s = float(options.get("timeoutMs", DEFAULT_TIMEOUT_S * 1000)) / 1000
    asked = ends(options.get("endpoints"), topology, int(options.get("port", PORT)))

    def ask(host: str, port: int) -> dict[str, Any]:
        return _status(host, port, timeout_s)

    statuses, failures = ask_all(asked, ask, enough=len(asked))
    members = {node_at(host, topology): status for (host, _), status in statuses.items()}
    leaders = {
        name: status for name, status in members.items() if status.get("leader") == status["header"]["member_id"]
    }
    if not leaders:
        raise CannotResolve(f"no etcd answers as the leader: {'; '.join(failures) or 'there is none at present'}")
    leader = max(leaders, key=lambda name: int(leaders[name]["raftTerm"]))
    term = int(leaders[leader]["raftTerm"])
    how = f"status of {len(members)} members: {leader} leads term {term}"
    return Found(_chosen(role, options, leader, sorted(members)), how, term)


def _chosen(role: str, options: Options, leader: str, members: list[str]) -> tuple[str, ...]:
    followers = [name for name in members if name != leader]
    if role == "leader":
        return (leader,)
    if role == "follower":
        return tuple(followers)
    if role == "members":
        return tuple(members)
    majority = len(members) // 2 + 1
    count = majority if role == "majority" else len(members) - majority
    order = [*followers, leader] if options.get("with") == "followers" else [leader, *followers]
    if count == 0:
        raise CannotResolve(f"{len(members)} members have no minority")
    return tuple(sorted(order[:count]))


def _status(host: str, port: int, timeout_s: float) -> dict[str, Any]:
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("POST", "/v3/maintenance/status", "{}", {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read(MAX_ANSWER_BYTES)
    except http.client.HTTPException as failure:
        raise CannotResolve(f"no etcd: {failure}") from None
    finally:
        connection.close()
    if response.status != 200:
        raise CannotResolve(f"answered {response.status}")
    status: dict[str, Any] = json.loads(text)
    return status
