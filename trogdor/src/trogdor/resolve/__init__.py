"""Who is it now? Resolvers name the nodes that play a part at this moment: a leader, a controller, a primary.

A resolver is a function ``resolve(topology, role, options)`` that asks the system itself. It is found by name:
those here, or an entry point of the group ``trogdor.resolvers``. They are asked in a short-lived process of their
own, ``python -m trogdor.resolve``; what is imported here must be quick to import.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from trogdor.topology import Topology

GROUP = "trogdor.resolvers"

BUILT_IN = {
    "kafka": "trogdor.resolve.kafka:resolve",
    "etcd": "trogdor.resolve.etcd:resolve",
    "postgresql": "trogdor.resolve.postgresql:resolve",
    "command": "trogdor.resolve.command:resolve",
}

DEFAULT_TIMEOUT_S = 2.0
MAX_ASKED = 256


class CannotResolve(Exception):
    """The system cannot be asked, or nobody plays the part; the message says whom was asked and what to do."""


@dataclass(frozen=True)
class Found:
    """The nodes that play a part, and how that is known."""

    nodes: tuple[str, ...]
    how: str
    epoch: int | None = None
    """The system's own count of changes of the part (controller epoch, leader epoch, term), where it has one."""


Options = Mapping[str, Any]
Resolver = Callable[[Topology, str, Options], Found]


def find(name: str) -> Resolver:
    """The resolver of a name. Raises CannotResolve with the names there are."""
    if name in BUILT_IN:
        module, _, function = BUILT_IN[name].partition(":")
        resolver: Resolver = getattr(import_module(module), function)
        return resolver
    from importlib import metadata  # 20 ms that only others' resolvers need

    others = {point.name: point for point in metadata.entry_points(group=GROUP)}
    if name not in others:
        raise CannotResolve(f"no resolver {name!r} is known: there are {', '.join(sorted({*BUILT_IN, *others}))}")
    found: Resolver = others[name].load()
    return found


def node_at(host: str, topology: Topology) -> str:
    """The node that has this name or address. Raises CannotResolve."""
    for node in topology.nodes.values():
        if host in (node.name, node.hostname, *node.addresses):
            return node.name
    from trogdor.resolve.names import addresses_of

    wanted = addresses_of(host)
    for node in topology.nodes.values():
        if wanted & {address for name in (node.hostname, *node.addresses) for address in addresses_of(name)}:
            return node.name
    raise CannotResolve(f"{host} is no node of the topology: give a node that address, or list it under addresses")


def ends(servers: str | None, topology: Topology, port: int) -> list[tuple[str, int]]:
    """Host and port of each server named (``n1:9092,…``), else of every node with an agent. Raises CannotResolve."""
    if not servers:
        return [(topology.nodes[name].hostname, port) for name in topology.agents()]
    found = []
    for server in servers.split(","):
        host, colon, number = server.strip().rpartition(":")
        if colon and not number.isdecimal():
            raise CannotResolve(f"{server.strip()!r} is no HOST:PORT")
        found.append((host.strip("[]"), int(number)) if colon else (server.strip(), port))
    return found


Answer = TypeVar("Answer")


def ask_all(
    asked: list[tuple[str, int]], ask: Callable[[str, int], Answer], enough: int = 1
) -> tuple[dict[tuple[str, int], Answer], list[str]]:
    """Asks every server at once: the first ``enough`` answers, and why the others have none.

    A server that hangs, such as a suspended one, holds nobody up: the process that asks ends soon.
    """
    told: SimpleQueue[tuple[tuple[str, int], list[Answer], str]] = SimpleQueue()

    def ask_one(end: tuple[str, int]) -> None:
        try:
            told.put((end, [ask(*end)], ""))
        except (OSError, CannotResolve, ValueError) as failure:
            told.put((end, [], f"{end[0]}:{end[1]}: {failure or type(failure).__name__}"))

    answers: dict[tuple[str, int], Answer] = {}
    failures: list[str] = []
    for end in asked[:MAX_ASKED]:
        Thread(target=ask_one, args=(end,), daemon=True).start()
    for _ in asked[:MAX_ASKED]:
        end, got, failure = told.get()
        if failure:
            failures.append(failure)
        else:
            (answers[end],) = got
        if len(answers) >= enough:
            break
    return answers, failures
