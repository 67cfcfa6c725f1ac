"""What an end of a link stands for: the addresses of nodes and names, and those of this node itself."""

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trogdor.claim.model import CannotInject
from trogdor.claim.place import Place
from trogdor.topology import Node, Topology

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

EVERYWHERE: tuple[Network, ...] = (ipaddress.IPv4Network("0.0.0.0/0"), ipaddress.IPv6Network("::/0"))
LOOPBACK: tuple[Network, ...] = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))
MULTICAST: tuple[Network, ...] = (ipaddress.IPv4Network("224.0.0.0/4"), ipaddress.IPv6Network("ff00::/8"))


@dataclass(frozen=True)
class Addresses:
    """Addresses looked up for one plan."""

    of: Mapping[str, tuple[str, ...]]
    """Node or DNS name → every address it has."""
    own: frozenset[str] = field(default_factory=frozenset)
    """The addresses of this node's network namespace."""


def look_up(names: Iterable[str], topology: Topology, place: Place) -> Addresses:
    """Every address of each node and DNS name, sorted: a name server turns its answers.

    Raises CannotInject when one has none.
    """
    of = {
        name: addresses_of(topology.nodes[name]) if name in topology.nodes else _resolved(name, name) for name in names
    }
    return Addresses(of, own_addresses(place))


def addresses_of(node: Node) -> tuple[str, ...]:
    """Every address of a node, sorted. Raises CannotInject when its hostname has none."""
    resolved = _resolved(node.hostname, f"node {node.name}: {node.hostname}")
    return tuple(sorted({*resolved, *node.addresses}))


def _resolved(name: str, words: str) -> tuple[str, ...]:
    try:
        answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CannotInject(f"{words} has no address: {error.strerror or error}") from None
    return tuple(sorted({str(answer[4][0]).partition("%")[0] for answer in answers}))


def own_addresses(place: Place) -> frozenset[str]:
    """The addresses of a place's interfaces."""
    net = Path(f"/proc/{place.root_pid or 'self'}/net")
    found, last = set(), ""
    for line in (net / "fib_trie").read_text().splitlines():
        if "|--" in line:
            last = line.split()[-1]
        elif "/32 host LOCAL" in line:
            found.add(last)
    if (net / "if_inet6").exists():
        for line in (net / "if_inet6").read_text().splitlines():
            found.add(str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))))
    return frozenset(found)


def literal_addresses(node: Node) -> set[str]:
    """The addresses of a node that need no look-up."""
    return {text for text in (node.hostname, *node.addresses) if is_address(text)} | (
        {"127.0.0.1", "::1"} if node.hostname == "localhost" else set()
    )


def is_address(text: str) -> bool:
    """Whether it is one, rather than a name or a network."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def network_of(text: str) -> Network | None:
    """The network that an address or CIDR stands for; None for a name."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def without(networks: Iterable[Network], excluded: Iterable[Network]) -> list[Network]:
    """The networks, less others: as few CIDRs as cover the rest."""
    left = list(networks)
    for hole in excluded:
        left = [piece for network in left for piece in _less(network, hole)]
    return left


def _less(network: Network, hole: Network) -> Iterable[Network]:
    if network.version != hole.version or not network.overlaps(hole):
        return [network]
    if hole.prefixlen <= network.prefixlen:
        return []
    return network.address_exclude(hole)  # type: ignore[arg-type]


def is_own(address: str, own: frozenset[str]) -> bool:
    """Whether packets to it stay in this network namespace."""
    return address in own or ipaddress.ip_address(address).is_loopback
