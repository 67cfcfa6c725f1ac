"""Kafka: the active controller, a partition's leader or followers, the coordinator of a group or a transaction.

| role | options | who |
|---|---|---|
| ``controller`` | | KRaft: the leader that DescribeQuorum names |
| ``controller`` | ``zookeeper`` | with ZooKeeper: who holds /controller |
| ``standby`` | | KRaft: the voters that are not the leader |
| ``voters`` | | KRaft: every controller of the quorum |
| ``leader`` | ``topic``, ``partition`` | the partition's leader |
| ``followers`` | ``topic``, ``partition`` | its other replicas |
| ``in-sync-followers`` | ``topic``, ``partition`` | those of them that are in sync |
| ``coordinator`` | ``group`` or ``transactionalId`` | its coordinator |
| ``broker`` | ``id`` | that broker |
| ``brokers`` | | every broker |
| ``in-sync-brokers`` | | the brokers that are in sync in every partition that they have a replica of |

All take ``bootstrapServers`` (else every node is asked at 9092), ``timeoutMs`` and ``caFile`` for TLS.
"""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from trogdor.resolve import DEFAULT_TIMEOUT_S, CannotResolve, Found, Options, ask_all, ends, node_at
from trogdor.resolve.kafka_protocol import Connection, Metadata, Partition, Quorum, connect
from trogdor.topology import Topology

if TYPE_CHECKING:
    import ssl

PORT = 9092
ZOOKEEPER_TIMEOUT_S = 5.0

Answer = TypeVar("Answer")


def resolve(topology: Topology, role: str, options: Options) -> Found:
    """The nodes that play this part in a cluster now. Raises CannotResolve."""
    if role not in ROLES:
        raise CannotResolve(f"kafka knows no role {role!r}: there are {', '.join(ROLES)}")
    return ROLES[role](topology, options)


def _ask(topology: Topology, options: Options, question: Callable[[Connection], Answer]) -> tuple[str, Answer]:
    """The first broker that answers, and its answer."""
    asked = ends(options.get("bootstrapServers"), topology, PORT)
    timeout_s = float(options.get("timeoutMs", DEFAULT_TIMEOUT_S * 1000)) / 1000
    tls = _tls(options["caFile"]) if options.get("caFile") else None

    def ask(host: str, port: int) -> Answer:
        with connect(host, port, timeout_s, tls) as connection:
            return question(connection)

    answers, failures = ask_all(asked, ask)
    for (host, port), answer in answers.items():
        return f"{host}:{port}", answer
    raise CannotResolve(f"no broker answers: {'; '.join(failures) or 'there is none to ask'}")


def _tls(authorities: str) -> "ssl.SSLContext":
    import ssl  # 20 ms that only TLS needs

    return ssl.create_default_context(cafile=authorities)


def _quorum(topology: Topology, options: Options) -> tuple[str, Quorum, dict[int, str]]:
    """Who answered, the quorum, and the node of each of its members."""

    def both(connection: Connection) -> tuple[Quorum, Metadata | None]:
        quorum = connection.quorum()
        return quorum, None if quorum.leader in quorum.nodes else connection.metadata()

    asked, (quorum, metadata) = _ask(topology, options, both)
    members = {**(metadata.brokers if metadata else {}), **quorum.nodes}
    return asked, quorum, {number: member.host for number, member in members.items()}


def _controller(topology: Topology, options: Options) -> Found:
    if options.get("zookeeper"):
        return _zookeeper_controller(topology, options)
    asked, quorum, hosts = _quorum(topology, options)
    if quorum.leader not in hosts:
        raise CannotResolve(f"{asked}: the quorum has no leader at present")
    how = f"DescribeQuorum at {asked}: leader {quorum.leader} of epoch {quorum.epoch}"
    return Found((node_at(hosts[quorum.leader], topology),), how, quorum.epoch)


def _standby(topology: Topology, options: Options) -> Found:
    asked, quorum, hosts = _quorum(topology, options)
    nodes = sorted(node_at(hosts[voter], topology) for voter in quorum.voters if voter != quorum.leader)
    how = f"DescribeQuorum at {asked}: voters {list(quorum.voters)} but leader {quorum.leader}"
    return Found(tuple(nodes), how, quorum.epoch)


def _voters(topology: Topology, options: Options) -> Found:
    asked, quorum, hosts = _quorum(topology, options)
    nodes = sorted(node_at(hosts[voter], topology) for voter in quorum.voters)
    return Found(tuple(nodes), f"DescribeQuorum at {asked}: voters {list(quorum.voters)}", quorum.epoch)


def _zookeeper_controller(topology: Topology, options: Options) -> Found:
    from kazoo.client import KazooClient
    from kazoo.exceptions import KazooException, NoNodeError
    from kazoo.handlers.threading import KazooTimeoutError

    servers = ",".join(f"{host}:{port}" for host, port in ends(options["zookeeper"], topology, 2181))
    client = KazooClient(servers, timeout=ZOOKEEPER_TIMEOUT_S, read_only=True)
    try:
        client.start(float(options.get("timeoutMs", DEFAULT_TIMEOUT_S * 1000)) / 1000)
        number = json.loads(client.get("/controller")[0])["brokerid"]
        epoch = int(client.get("/controller_epoch")[0])
        broker = json.loads(client.get(f"/brokers/ids/{number}")[0])
    except NoNodeError:
        raise CannotResolve(f"ZooKeeper at {servers}: no broker is the controller at present") from None
    except (KazooException, KazooTimeoutError) as failure:
        raise CannotResolve(f"ZooKeeper at {servers} does not answer: {failure or type(failure).__name__}") from None
    how = f"/controller of ZooKeeper at {servers}: broker {number}, epoch {epoch}"
    return Found((node_at(_host(broker), topology),), how, epoch)


def _host(broker: dict[str, Any]) -> str:
    if broker.get("host"):
        return str(broker["host"])
    return str(broker["endpoints"][0]).partition("://")[2].rpartition(":")[0].strip("[]")


def _partition(topology: Topology, options: Options) -> tuple[str, Partition, Metadata]:
    topic, number = options["topic"], int(options.get("partition", 0))
    asked, metadata = _ask(topology, options, lambda connection: connection.metadata([topic]))
    partition = metadata.partitions.get((topic, number))
    if partition is None:
        raise CannotResolve(f"{asked}: {topic} has no partition {number}")
    return (
        f"Metadata at {asked}: {topic}-{number}, leader {partition.leader}, epoch {partition.leader_epoch}",
        partition,
        metadata,
    )


def _leader(topology: Topology, options: Options) -> Found:
    how, partition, metadata = _partition(topology, options)
    if partition.leader not in metadata.brokers:
        raise CannotResolve(f"{how}: it has no leader at present")
    return Found(_nodes([partition.leader], metadata, topology), how, partition.leader_epoch)


def _followers(topology: Topology, options: Options, in_sync: bool = False) -> Found:
    how, partition, metadata = _partition(topology, options)
    ids = partition.in_sync if in_sync else partition.replicas
    others = [number for number in ids if number != partition.leader and number in metadata.brokers]
    return Found(_nodes(others, metadata, topology), how, partition.leader_epoch)


def _coordinator(topology: Topology, options: Options) -> Found:
    kind, name = ("group", "group") if options.get("group") else ("transaction", "transactionalId")
    if not options.get(name):
        raise CannotResolve("a coordinator is one of a group or of a transactionalId: give one of them")
    asked, broker = _ask(topology, options, lambda connection: connection.coordinator(kind, options[name]))
    how = f"FindCoordinator at {asked}: broker {broker.id} coordinates {kind} {options[name]}"
    return Found((node_at(broker.host, topology),), how)


def _brokers(topology: Topology, options: Options) -> Found:
    asked, metadata = _ask(topology, options, lambda connection: connection.metadata())
    wanted = [int(options["id"])] if "id" in options else sorted(metadata.brokers)
    if missing := [number for number in wanted if number not in metadata.brokers]:
        raise CannotResolve(f"{asked}: there is no broker {missing[0]}; there are {sorted(metadata.brokers)}")
    return Found(_nodes(wanted, metadata, topology), f"Metadata at {asked}: brokers {wanted}")


def _in_sync_brokers(topology: Topology, options: Options) -> Found:
    asked, metadata = _ask(topology, options, lambda connection: connection.metadata(None))
    behind = {number for each in metadata.partitions.values() for number in each.replicas if number not in each.in_sync}
    ids = sorted(metadata.brokers.keys() - behind)
    how = f"Metadata at {asked}: brokers {ids} are in sync in all of {len(metadata.partitions)} partitions"
    return Found(_nodes(ids, metadata, topology), how)


def _nodes(ids: list[int], metadata: Metadata, topology: Topology) -> tuple[str, ...]:
    return tuple(node_at(metadata.brokers[number].host, topology) for number in ids)


ROLES: dict[str, Callable[[Topology, Options], Found]] = {
    "controller": _controller,
    "standby": _standby,
    "voters": _voters,
    "leader": _leader,
    "followers": _followers,
    "in-sync-followers": lambda topology, options: _followers(topology, options, in_sync=True),
    "coordinator": _coordinator,
    "broker": _brokers,
    "brokers": _brokers,
    "in-sync-brokers": _in_sync_brokers,
}
