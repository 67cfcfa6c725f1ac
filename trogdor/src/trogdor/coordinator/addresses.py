"""Addresses of nodes: what their hostnames stand for, and by which of its own the coordinator reaches them."""

import socket
from collections.abc import Iterable
from contextlib import suppress

from trogdor.topology import Node

DISCARD_PORT = 9


def of(node: Node) -> tuple[str, ...]:
    """Every address of a node: those its hostname stands for, and the further ones it is configured with. Slow."""
    found: dict[str, None] = {}
    with suppress(OSError, UnicodeError):
        for _, _, _, _, address in socket.getaddrinfo(node.hostname, None, type=socket.SOCK_STREAM):
            found[str(address[0])] = None
    return (*found, *(address for address in node.addresses if address not in found))


def ours_towards(theirs: Iterable[str]) -> tuple[str, ...]:
    """The addresses from which this machine reaches others. No packet is sent."""
    found: dict[str, None] = {}
    for address in theirs:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe, suppress(OSError):
            probe.connect((address, DISCARD_PORT))
            found[str(probe.getsockname()[0]).partition("%")[0]] = None
    return tuple(found)
