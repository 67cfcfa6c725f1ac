"""A device's root queueing discipline, read and removed by a netlink message each, where a ``tc`` process takes ms.

The numbers are the kernel's: linux/rtnetlink.h, linux/pkt_sched.h.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator

RTM_DELQDISC, RTM_GETQDISC = 37, 38
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
TCA_KIND = 1
TC_H_ROOT = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")
_TCMSG = struct.Struct("=BxxxiIII")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE = 0x3FFF
ANSWER_S = 2.0


def read(device: str) -> tuple[str, str] | None:
    """(kind, handle as ``tc`` writes it) of a device's root; a handle of ``0:`` is the kernel's default. None: no such
    device. Enter the node's namespaces before. Raises OSError."""
    try:
        index = socket.if_nametoindex(device)
    except OSError:
        return None
    with _netlink() as netlink:
        netlink.send(_message(RTM_GETQDISC, NLM_F_REQUEST | NLM_F_DUMP, index))
        for kind, body in _answers(netlink):
            if kind == NLMSG_DONE:
                break
            _, of, handle, parent, _ = _TCMSG.unpack_from(body)
            if of == index and parent == TC_H_ROOT:
                return _kind_of(body), f"{handle >> 16:x}:"
    return "", "0:"


def remove(device: str) -> None:
    """Removes a device's root, so that the kernel's default is there again. Raises OSError."""
    with _netlink() as netlink:
        netlink.send(_message(RTM_DELQDISC, NLM_F_REQUEST | NLM_F_ACK, socket.if_nametoindex(device)))
        next(_answers(netlink))


@contextlib.contextmanager
def _netlink() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as netlink:
        netlink.settimeout(ANSWER_S)
        yield netlink


def _message(kind: int, flags: int, index: int) -> bytes:
    body = _TCMSG.pack(socket.AF_UNSPEC, index, 0, TC_H_ROOT, 0)
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


def _answers(netlink: socket.socket) -> Iterator[tuple[int, bytes]]:
    while True:
        data, at = netlink.recv(1 << 16), 0
        while at + _HEADER.size <= len(data):
            length, kind, *_ = _HEADER.unpack_from(data, at)
            body = data[at + _HEADER.size : at + length]
            if kind == NLMSG_ERROR and (code := -struct.unpack_from("=i", body)[0]):
                raise OSError(code, os.strerror(code))
            yield kind, body
            at += length + -length % 4


def _kind_of(body: bytes) -> str:
    at = _TCMSG.size
    while at + _ATTRIBUTE.size <= len(body):
        size, attribute = _ATTRIBUTE.unpack_from(body, at)
        if attribute & _TYPE == TCA_KIND:
            return body[at + _ATTRIBUTE.size : at + size].rstrip(b"\0").decode()
        at += max(size, _ATTRIBUTE.size) + -size % 4
    return ""
