"""Links, addresses and neighbours by raw rtnetlink(7).

An `Rtnetlink` stays in the network namespace it was opened in, so one process can speak to many.
"""

from __future__ import annotations

import os
import socket
import struct
from types import TracebackType

_NEWLINK, _NEWADDR, _NEWNEIGH = 16, 20, 28
_REQUEST, _ACK, _CREATE, _EXCL = 0x1, 0x4, 0x400, 0x200
_NLMSG_ERROR = 2

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 10, 18, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_BR_FORWARD_DELAY, _IFLA_BR_STP_STATE, _IFLA_BR_MCAST_SNOOPING = 1, 5, 23
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS, _IFA_F_NODAD = 1, 2, 8, 0x02
_NDA_DST, _NDA_LLADDR, _NUD_PERMANENT = 1, 2, 0x80
_IFF_UP = 1


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", len(body) + 16, kind, _REQUEST | flags, 0, 0) + body


def _link_header(index: int = 0, up: bool = False) -> bytes:
    return struct.pack("=BBHiII", socket.AF_UNSPEC, 0, 0, index, _IFF_UP * up, _IFF_UP * up)


def _packed(address: str) -> tuple[int, bytes]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address)


def bridge(name: str) -> bytes:
    """A bridge that forwards from the start: no spanning tree, no multicast snooping."""
    options = (
        _attribute(_IFLA_BR_FORWARD_DELAY, struct.pack("=I", 0))
        + _attribute(_IFLA_BR_STP_STATE, struct.pack("=I", 0))
        + _attribute(_IFLA_BR_MCAST_SNOOPING, b"\0")
    )
    info = _text(_IFLA_INFO_KIND, "bridge") + _attribute(_IFLA_INFO_DATA, options)
    body = _link_header(up=True) + _text(_IFLA_IFNAME, name) + _attribute(_IFLA_LINKINFO, info)
    return _message(_NEWLINK, _CREATE | _EXCL, body)


def veth(name: str, master: int, peer: str, peer_mac: bytes, peer_namespace: int) -> bytes:
    """A cable: `name` here, up and plugged into the bridge `master`; `peer` in the other namespace."""
    other = (
        _link_header()
        + _text(_IFLA_IFNAME, peer)
        + _attribute(_IFLA_ADDRESS, peer_mac)
        + _attribute(_IFLA_NET_NS_FD, struct.pack("=I", peer_namespace))
    )
    info = _text(_IFLA_INFO_KIND, "veth") + _attribute(_IFLA_INFO_DATA, _attribute(_VETH_INFO_PEER, other))
    body = (
        _link_header(up=True)
        + _text(_IFLA_IFNAME, name)
        + _attribute(_IFLA_MASTER, struct.pack("=I", master))
        + _attribute(_IFLA_LINKINFO, info)
    )
    return _message(_NEWLINK, _CREATE | _EXCL, body)


def up(index: int) -> bytes:
    """Switch a link on."""
    return _message(_NEWLINK, 0, _link_header(index, up=True))


def address(index: int, value: str, prefix: int) -> bytes:
    """Give a link an address, IPv4 or IPv6, that can be used at once (no duplicate address detection)."""
    family, packed = _packed(value)
    body = struct.pack("=BBBBI", family, prefix, 0, 0, index) + _attribute(_IFA_LOCAL, packed)
    body += _attribute(_IFA_ADDRESS, packed) + _attribute(_IFA_FLAGS, struct.pack("=I", _IFA_F_NODAD))
    return _message(_NEWADDR, _CREATE | _EXCL, body)


def neighbour(index: int, value: str, mac: bytes) -> bytes:
    """Say for good which hardware address an address has."""
    family, packed = _packed(value)
    body = struct.pack("=BBHiHBB", family, 0, 0, index, _NUD_PERMANENT, 0, 0)
    return _message(_NEWNEIGH, _CREATE, body + _attribute(_NDA_DST, packed) + _attribute(_NDA_LLADDR, mac))


class Rtnetlink:
    """A conversation with the kernel about the network namespace that the caller is in now."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))

    def __enter__(self) -> Rtnetlink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._socket.close()

    def send(self, what: str, *messages: bytes) -> None:
        """Carry out the messages in one system call.

        Raises OSError, with `what` as its file name, when the kernel refuses one of them; the others
        are carried out all the same.
        """
        size, kind, flags, _, _ = struct.unpack_from("=IHHII", messages[-1])
        last = struct.pack("=IHHII", size, kind, flags | _ACK, 1, 0) + messages[-1][16:]
        self._socket.send(b"".join((*messages[:-1], last)))
        refused = 0
        while True:
            answer = self._socket.recv(65536)
            while answer:
                length, kind, _, sequence, _ = struct.unpack_from("=IHHII", answer)
                if kind == _NLMSG_ERROR:
                    refused = refused or -struct.unpack_from("=i", answer, 16)[0]
                    if sequence == 1:
                        if refused:
                            raise OSError(refused, os.strerror(refused), what)
                        return
                answer = answer[length:]
