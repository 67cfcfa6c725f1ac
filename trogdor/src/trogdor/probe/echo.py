"""ICMP echoes over raw sockets: what a far end's kernel sends back, so that its absence tells of a link's ICMP.

RFC 792 and RFC 4443. The answer's way is the one that is judged; that the question's is open, the baseline shows.
"""

import socket
import struct
from contextlib import suppress

_PROTOCOL = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}
_REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}
_REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}
_HEADER = struct.Struct("!BBHHH")
_ICMP_FILTER, _ICMP6_FILTER = 1, 1
_SOL_RAW = 255


def opened(family: socket.AddressFamily) -> socket.socket:
    """A socket that gets echo replies alone. Raises OSError where raw sockets are not allowed."""
    sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _PROTOCOL[family])
    if family == socket.AF_INET:
        sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << _REPLY[family]) & 0xFFFFFFFF))
    else:
        blocked = bytearray(b"\xff" * 32)
        word, bit = divmod(_REPLY[family], 32)
        struct.pack_into("=I", blocked, 4 * word, ~(1 << bit) & 0xFFFFFFFF)
        sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, bytes(blocked))
    return sock


def send(sock: socket.socket, family: socket.AddressFamily, address: str, payload: bytes) -> None:
    """Asks for an echo of ``payload``; it may be lost, as any packet."""
    packet = _HEADER.pack(_REQUEST[family], 0, 0, 0, 0) + payload
    if family == socket.AF_INET:  # of ICMPv6 the kernel makes the checksum
        packet = _HEADER.pack(_REQUEST[family], 0, _checksum(packet), 0, 0) + payload
    with suppress(OSError):
        sock.sendto(packet, (address, 0))


def answered(family: socket.AddressFamily, packet: bytes) -> bytes:
    """The payload of an echo reply as it was received: with its IP header in IPv4. Raises IndexError for no packet."""
    start = (packet[0] & 15) * 4 if family == socket.AF_INET else 0
    return packet[start + _HEADER.size :]


def _checksum(packet: bytes) -> int:
    padded = packet + bytes(len(packet) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
