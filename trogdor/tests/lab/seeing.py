"""Other eyes for tests and benches: what real sockets inside the nodes see of each other, and when.

It shares nothing with Trogdor's own probes. Times are nanoseconds of CLOCK_BOOTTIME.
"""

from __future__ import annotations

import select
import selectors
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from trogdor.lab import Node

Sight = Literal["open", "blocked", "refused"]


def now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Listener:
    """Ports on a node, one for TCP and one for UDP, that take whatever comes, over IPv4 and IPv6."""

    def __init__(self, node: Node, port: int = 0) -> None:
        self.node = node
        self.arrived: dict[bytes, int] = {}
        """UDP payloads, and when each was read."""
        self._tcp = self._bound(socket.SOCK_STREAM, port)
        self._tcp.listen(1024)
        self._udp = self._bound(socket.SOCK_DGRAM, port)
        self.ports = {"tcp": self._tcp.getsockname()[1], "udp": self._udp.getsockname()[1]}
        self._reading = threading.Lock()
        self._done, self._finish = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _bound(self, kind: int, port: int) -> socket.socket:
        family = socket.AF_INET6 if self.node.address6 else socket.AF_INET
        bound = self.node.socket(family, kind)
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(("", port))
        bound.setblocking(False)
        return bound

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for waited in (self._tcp, self._udp, self._done):
                selector.register(waited, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._done:
                        return
                    self._take(key.fileobj)

    def _take(self, ready: object) -> None:
        with self._reading, suppress(OSError):
            while True:
                if ready is self._tcp:
                    self._tcp.accept()[0].close()
                else:
                    payload = self._udp.recv(2048)
                    self.arrived.setdefault(payload, now_ns())

    def settle(self, quiet_s: float = 0.05) -> None:
        """Return when all that came has been read, and nothing more came for a moment."""
        since = time.monotonic()
        while time.monotonic() < since + quiet_s:
            with self._reading:
                if select.select([self._udp], [], [], 0)[0]:
                    since = time.monotonic()
            time.sleep(0.001)

    def close(self) -> None:
        self._finish.close()
        self._thread.join()
        for each in (self._tcp, self._udp, self._done):
            each.close()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_numbers = iter(range(1, 2**62))


def reach(
    source: Node, target: Listener, protocol: str = "tcp", *, ipv6: bool = False, timeout_s: float = 0.5
) -> Sight:
    """Whether a new connection, or one UDP packet in that direction, gets from a node to a listener."""
    host = target.node.address6 if ipv6 else target.node.address
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with source.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, kind) as prober:
        prober.settimeout(timeout_s)
        try:
            prober.connect((host, target.ports[protocol]))
            if protocol == "tcp":
                return "open"
            payload = struct.pack("!qq", id(target), next(_numbers))
            prober.send(payload)
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return "blocked"
        until = time.monotonic() + timeout_s
        while payload not in target.arrived:
            if time.monotonic() > until:
                return "blocked"
            time.sleep(0.001)
        return "open"


@dataclass(frozen=True)
class Change:
    """From this instant on, until the next change, the way was as `sight` says."""

    at_ns: int
    sight: Sight


class Watch:
    """Watches one direction between two nodes by numbered UDP packets, one each `period_ms`.

    A change to blocked is dated by when the first packet lost was sent, one to open by when the first
    that arrived again was sent; both are known once the watch is closed.
    """

    def __init__(self, source: Node, target: Listener, *, period_ms: float = 1.0, ipv6: bool = False) -> None:
        self._target = target
        self._period_s = period_ms / 1000
        self._address = (target.node.address6 if ipv6 else target.node.address, target.ports["udp"])
        self._socket = source.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        self._sent: list[tuple[bytes, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        while not self._stop.wait(self._period_s):
            payload = struct.pack("!qq", id(self), next(_numbers))
            self._sent.append((payload, now_ns()))
            try:
                self._socket.sendto(payload, self._address)
            except OSError:
                continue

    def close(self) -> None:
        """Stop, and wait for what is still on its way."""
        self._stop.set()
        self._thread.join()
        self._socket.close()
        self._target.settle()

    def changes(self) -> list[Change]:
        """What was seen, from the first packet on."""
        found: list[Change] = []
        for payload, sent_ns in self._sent:
            sight: Sight = "open" if payload in self._target.arrived else "blocked"
            if not found or found[-1].sight != sight:
                found.append(Change(sent_ns, sight))
        return found

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
