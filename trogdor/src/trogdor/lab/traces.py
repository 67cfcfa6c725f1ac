"""What a fault may leave in nodes, looked for without any of the code that injects faults."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable

from trogdor.lab.node import Node

_NETLINK_NETFILTER = 12
_NFT_GETTABLE, _NFT_NEWTABLE = 0xA01, 0xA00
_NFTA_TABLE_NAME = 1
_REQUEST_DUMP = 0x1 | 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3


def nft_tables(node: Node) -> list[str]:
    """The names of the nftables tables in a node, of all families, by raw netlink (libnftables is not used)."""
    found: list[str] = []
    with node.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
        netlink.send(struct.pack("=IHHIIBBH", 20, _NFT_GETTABLE, _REQUEST_DUMP, 1, 0, socket.AF_UNSPEC, 0, 0))
        while True:
            answer = netlink.recv(65536)
            while answer:
                length, kind = struct.unpack_from("=IH", answer)
                if kind == _NLMSG_DONE:
                    return found
                if kind == _NLMSG_ERROR:
                    number = -struct.unpack_from("=i", answer, 16)[0]
                    raise OSError(number, os.strerror(number), f"tables of {node.name}")
                if kind == _NFT_NEWTABLE:
                    found.append(_name(answer[20:length]))
                answer = answer[(length + 3) & ~3 :]


def _name(attributes: bytes) -> str:
    while attributes:
        length, kind = struct.unpack_from("=HH", attributes)
        if kind == _NFTA_TABLE_NAME:
            return attributes[4:length].rstrip(b"\0").decode()
        attributes = attributes[(length + 3) & ~3 :]
    return "?"


def unreachable(nodes: Iterable[Node], port: int, timeout_s: float = 2.0) -> list[str]:
    """The ways between nodes, over IPv4 and IPv6, on which no TCP connection to `port` can be opened."""
    closed = []
    everyone = list(nodes)
    for source in everyone:
        for target in everyone:
            for address in filter(None, (target.address, target.address6)):
                if source is target:
                    continue
                try:
                    source.connect(address, port, timeout_s).close()
                except OSError as error:
                    closed.append(f"{source.name} → {target.name} ({address}): {error}")
    return closed


def stopped(node: Node) -> list[str]:
    """The processes of a node that a signal has stopped."""
    return [f"{process.pid} {process.command}" for process in node.processes() if process.state in "Tt"]
