"""The probe port of a node: beacons, numbered, for whoever asks for them; and a record of those that arrive here.

A beacon is sent by the far end on its own, so that one that does not arrive tells of the one direction it would have
come by. Whoever asks first gets a cookie and has to show it: nobody can have beacons sent to an address not his own.
"""

import asyncio
import errno
import hashlib
import json
import logging
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from trogdor.instant import NS_PER_MS, NS_PER_S, Clock, Offsets
from trogdor.probe import echo

log = logging.getLogger(__name__)

Mode = Literal["udp", "udp-new", "tcp", "icmp"]
"""``udp``: from port to port. ``udp-new``: from a new socket each. ``tcp``: by a new connection each. ``icmp``: the far
end's kernel sends back what we sent it."""

DENSE_S = {"udp": 0.005, "udp-new": 0.01, "tcp": 0.02, "icmp": 0.02}
SPARSE_S = 0.25
ASK_S = 0.01
MAX_STREAMS = 256
MOST_AT_ONCE = 1000
MAX_UNTIL_MS = 3_600_000
PATIENCE_S, MOST_PATIENCE_S = 0.5, 2.5
"""How long a connection that carries a beacon is waited for; less than its first packet takes to be sent again."""
MAX_PACKET = 1200
MAX_WINDOWS = 8
CAR_BYTES = 1042
"""Of a train's packet on the wire, headers included."""
_CAR = 1000
KEPT = 4096
"""Arrivals kept for each stream."""
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("qq")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A beacon that came through: its number, and when it did, in ns of our CLOCK_BOOTTIME, give or take."""

    number: int
    at_ns: int
    give_ns: int = 0
    left_ns: int = 0
    """When it was sent, by the clock of who sent it: the far end, or of an echo we."""
    transit_ns: int = 0
    """From then until it was here in whole, by two clocks: only differences mean something. The kernel's time of
    arrival would not do: it is taken before netfilter, which may hold a packet back."""
    up_ns: int = 0
    """How long the far end had been answering when it was sent; 0: nobody knows."""


@dataclass(eq=False)
class Stream:
    """Beacons that we asked a far end for."""

    id: str
    address: str
    port: int
    mode: Mode
    end_ns: int
    """Until when they are wanted."""
    dense: list[tuple[int, int]]
    """From when to when they are wanted often."""
    patience_s: float = PATIENCE_S
    arrivals: deque[Arrival] = field(default_factory=lambda: deque(maxlen=KEPT))
    offsets: Offsets = field(default_factory=Offsets)
    cookie: str = ""
    asked_ns: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def after(self, instant_ns: int) -> list[Arrival]:
        """What came through surely after an instant."""
        return [arrival for arrival in self.arrivals if arrival.at_ns - arrival.give_ns > instant_ns]

    def until(self, instant_ns: int) -> list[Arrival]:
        """What came through surely not after an instant."""
        return [arrival for arrival in self.arrivals if arrival.at_ns + arrival.give_ns <= instant_ns]


@dataclass(eq=False)
class Train:
    """Padded packets that we sent at once, and when each arrived, in ns of the far end's clock."""

    id: str
    left_ns: int
    arrived_ns: dict[int, int] = field(default_factory=dict)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def count(self) -> int:
        """How many of them arrived, as far as we were told."""
        return len(self.arrived_ns)

    @property
    def span_ns(self) -> int:
        """From the first arrival to the last."""
        return max(self.arrived_ns.values(), default=0) - min(self.arrived_ns.values(), default=0)


@dataclass(eq=False)
class _Sending:
    """Beacons that a far end asked us for."""

    send: Callable[[bytes], None]
    mode: Mode
    dense: list[tuple[int, int]]
    end_ns: int
    number: int = 0
    timer: asyncio.TimerHandle | None = None


def _received(sock: socket.socket) -> Iterator[tuple[bytes, list[tuple[int, int, bytes]], Any]]:
    """Packets that have arrived already, with their ancillary data and source; so many that others have their turn."""
    for _ in range(MOST_AT_ONCE):
        try:
            packet, ancillary, _, source = sock.recvmsg(MAX_PACKET, 64)
        except OSError:
            return
        yield packet, ancillary, source


class Beacons:
    """The probe port. Open it in the node's namespaces, then on an event loop."""

    def __init__(self, clock: Clock) -> None:
        self.port = 0
        self._clock = clock
        self._since_ns = clock.boot_ns()
        """Since when we answer."""
        self._secret = os.urandom(16)
        self._udp: dict[socket.AddressFamily, socket.socket] = {}
        self._tcp: list[socket.socket] = []
        self._echoes: dict[socket.AddressFamily, socket.socket] = {}
        """Raw sockets for ICMP, there once a stream wants it."""
        self._asked: dict[str, Stream] = {}
        self._sending: dict[str, _Sending] = {}
        self._trains: dict[str, Train] = {}

    def open(self, entered: Callable[[], AbstractContextManager[None]]) -> None:
        """Binds the port, the same for UDP and TCP, IPv4 and IPv6. ``entered`` enters the node's namespaces."""
        self._entered = entered
        with entered():
            for _ in range(20):
                try:
                    self._bind()
                    return
                except OSError as error:
                    self._close_sockets()
                    if error.errno != errno.EADDRINUSE:
                        raise
        raise OSError(errno.EADDRINUSE, "no free port for probes")

    def _bind(self) -> None:
        families = [(socket.AF_INET, "0.0.0.0")]
        if os.path.exists("/proc/net/if_inet6"):
            families.append((socket.AF_INET6, "::"))
        self.port = 0
        for family, wildcard in families:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
                if kind == socket.SOCK_DGRAM:
                    self._udp[family] = sock
                    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
                else:
                    self._tcp.append(sock)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((wildcard, self.port))
                self.port = sock.getsockname()[1]
        for sock in self._tcp:
            sock.listen(64)

    def start(self) -> None:
        """Answers from now on, on the running event loop."""
        self._since_ns = self._clock.boot_ns()
        loop = asyncio.get_running_loop()
        for sock in self._udp.values():
            loop.add_reader(sock, self._receive, sock)
        for sock in self._tcp:
            loop.add_reader(sock, self._accept, sock)

    def close(self) -> None:
        """Stops to answer and to send."""
        loop = asyncio.get_running_loop()
        for sock in (*self._udp.values(), *self._tcp, *self._echoes.values()):
            loop.remove_reader(sock)
        for sending in self._sending.values():
            if sending.timer:
                sending.timer.cancel()
        self._sending.clear()
        self._close_sockets()

    def _close_sockets(self) -> None:
        for sock in (*self._udp.values(), *self._tcp, *self._echoes.values()):
            sock.close()
        self._udp.clear()
        self._echoes.clear()
        self._tcp.clear()

    # Asking.

    def want(
        self,
        address: str,
        port: int,
        mode: Mode,
        dense: Sequence[tuple[int, int]],
        end_ns: int,
        *,
        patience_s: float = PATIENCE_S,
    ) -> Stream:
        """A stream of beacons from a far end, often within ``dense``; ``ask`` asks for it."""
        stream = Stream(os.urandom(8).hex(), address, port, mode, end_ns, list(dense), patience_s)
        self._asked[stream.id] = stream
        return stream

    def ask(self, stream: Stream) -> None:
        """Asks once; may be lost, and may be repeated."""
        now = stream.asked_ns = self._clock.boot_ns()
        if stream.mode == "icmp":
            self._send_echoes(stream)
            return
        windows = [[(low - now) // NS_PER_MS, (high - now) // NS_PER_MS] for low, high in stream.dense if high > now]
        until = min((stream.end_ns - now) // NS_PER_MS, MAX_UNTIL_MS)
        wanted = {"m": stream.mode, "p": self.port, "d": windows[:MAX_WINDOWS], "u": until, "w": stream.patience_s}
        self._say(stream, {"k": "ask", **wanted})

    def forget(self, stream: Stream) -> None:
        """Wants no more of these beacons."""
        self._end(stream.id)
        if self._asked.pop(stream.id, None) is not None and stream.mode != "icmp":
            self._say(stream, {"k": "stop"})

    def send_train(self, address: str, port: int, cars: int) -> Train:
        """Sends so many padded packets at once; the far end tells of each when it arrived, until ``forget_train``."""
        train = Train(os.urandom(8).hex(), self._clock.boot_ns())
        self._trains[train.id] = train
        for number in range(cars):
            packet = json.dumps({"k": "t", "id": train.id, "n": number}).encode()
            self._send_udp(address, port, packet.ljust(_CAR))
        return train

    def forget_train(self, train: Train) -> None:
        """Waits for no more of it."""
        self._trains.pop(train.id, None)

    def _say(self, stream: Stream, message: dict[str, Any]) -> None:
        body = {**message, "id": stream.id, "c": stream.cookie, "t": self._clock.boot_ns()}
        self._send_udp(stream.address, stream.port, json.dumps(body).encode())

    def _send_udp(self, address: str, port: int, packet: bytes) -> None:
        sock = self._udp.get(socket.AF_INET6 if ":" in address else socket.AF_INET)
        if sock is not None:
            with suppress(OSError):  # lost, as any packet may be
                sock.sendto(packet, (address, port))

    def drain(self) -> None:
        """Takes in everything that has arrived already, whenever the event loop would have come to it."""
        for sock in self._udp.values():
            self._receive(sock)
        for family, sock in self._echoes.items():
            self._receive_echoes(family, sock)
        for sock in self._tcp:
            self._accept(sock)

    # Receiving.

    def _receive(self, sock: socket.socket) -> None:
        for packet, ancillary, source in _received(sock):
            with suppress(ValueError, KeyError, TypeError, AttributeError, OverflowError):
                self._take(json.loads(packet), source, self._arrived_ns(ancillary))

    def _receive_echoes(self, family: socket.AddressFamily, sock: socket.socket) -> None:
        for packet, ancillary, _ in _received(sock):
            with suppress(ValueError, KeyError, TypeError, IndexError, OverflowError):
                message = json.loads(echo.answered(family, packet))
                stream = self._asked[str(message["id"])]
                if stream.mode == "icmp":
                    self._take_beacon(stream.id, self._arrival(message, self._arrived_ns(ancillary)))

    def _arrived_ns(self, ancillary: Sequence[tuple[int, int, bytes]]) -> int:
        """When the kernel took the packet in: whenever we were scheduled after that."""
        now = self._clock.boot_ns()
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, ns = _TIMESPEC.unpack(data[:16])
                age: int = time.time_ns() - (seconds * NS_PER_S + ns)
                if 0 <= age < 60 * NS_PER_S:
                    return now - age
        return now

    def _take(self, message: dict[str, Any], source: Any, at_ns: int) -> None:
        kind, stream_id = message["k"], str(message["id"])
        if kind == "b":
            self._take_beacon(stream_id, self._arrival(message, at_ns))
        elif kind == "t":  # the answer is shorter than what asked for it, and needs no cookie
            answer = {"k": "a", "id": stream_id[:32], "n": int(message["n"]), "t": at_ns}
            self._send_udp(source[0], source[1], json.dumps(answer).encode())
        elif kind == "a":
            self._take_answer(message)
        elif kind == "cookie":
            self._take_cookie(message, at_ns)
        elif kind == "ask":
            self._take_ask(message, stream_id, source)
        elif kind == "stop" and message["c"] == self._cookie_of(source):
            self._end(stream_id)

    def _take_answer(self, message: dict[str, Any]) -> None:
        train = self._trains.get(str(message["id"]))
        if train is not None:
            train.arrived_ns.setdefault(int(message["n"]), int(message["t"]))
            train.arrived.set()

    def _take_cookie(self, message: dict[str, Any], at_ns: int) -> None:
        stream = self._asked.get(str(message["id"]))
        if stream is None:
            return
        stream.offsets.add(int(message["a"]), at_ns, int(message["t"]))
        if not stream.cookie:
            stream.cookie = str(message["c"])[:64]
            self.ask(stream)

    def _arrival(self, message: dict[str, Any], at_ns: int, give_ns: int = 0) -> Arrival:
        left_ns = int(message["s"])
        up_ns = int(message.get("u", 0))
        return Arrival(int(message["n"]), at_ns, give_ns, left_ns, self._clock.boot_ns() - left_ns, up_ns)

    def _take_beacon(self, stream_id: str, arrival: Arrival) -> None:
        stream = self._asked.get(stream_id)
        if stream is not None:
            stream.arrivals.append(arrival)
            stream.arrived.set()

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(64):
            try:
                connection, _ = sock.accept()
            except OSError:
                return
            asyncio.get_running_loop().create_task(self._read_connection(connection))

    async def _read_connection(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        with connection, suppress(OSError, ValueError, KeyError, TypeError, TimeoutError, OverflowError):
            packet = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(connection, MAX_PACKET), 1.0)
            message = json.loads(packet)
            stream = self._asked[str(message["id"])]
            best = stream.offsets.best
            if best is not None:  # by when it was sent: we may have come to it late
                sent_ns = int(message["s"]) - best.offset_ns
                self._take_beacon(stream.id, self._arrival(message, sent_ns, best.uncertainty_ns))

    # Sending.

    def _cookie_of(self, source: Any) -> str:
        return hashlib.blake2s(f"{source[0]} {source[1]}".encode(), key=self._secret, digest_size=8).hexdigest()

    def _take_ask(self, message: dict[str, Any], stream_id: str, source: Any) -> None:
        cookie = self._cookie_of(source)
        if message["c"] != cookie:
            answer = {"k": "cookie", "id": stream_id[:32], "c": cookie, "a": message["t"], "t": self._clock.boot_ns()}
            self._send_udp(source[0], source[1], json.dumps(answer).encode())
            return
        sending = self._sending.get(stream_id)
        if sending is None:
            if len(self._sending) >= MAX_STREAMS:
                return
            mode: Mode = message["m"]
            send = self._sender(mode, source, int(message["p"]), float(message.get("w", PATIENCE_S)))
            sending = self._sending[stream_id] = _Sending(send, mode, [], 0)
        now = self._clock.boot_ns()
        windows = [(int(low), int(high)) for low, high in message["d"][:MAX_WINDOWS]]
        sending.dense = [(now + low * NS_PER_MS, now + high * NS_PER_MS) for low, high in windows]
        sending.end_ns = now + min(int(message["u"]), MAX_UNTIL_MS) * NS_PER_MS
        if sending.timer:
            sending.timer.cancel()
        self._send_on(stream_id)

    def _send_echoes(self, stream: Stream) -> None:
        """Sends what the far end's kernel is to send back, as often as a far end would send beacons."""
        if stream.id not in self._sending:
            family = socket.AF_INET6 if ":" in stream.address else socket.AF_INET
            with suppress(OSError):  # no raw sockets here: no beacon comes
                sock = self._echo_socket(family)
                send = partial(echo.send, sock, family, stream.address)
                self._sending[stream.id] = _Sending(send, "icmp", [], 0)
        if (sending := self._sending.get(stream.id)) is not None:
            sending.dense, sending.end_ns = stream.dense, stream.end_ns
            if sending.timer:
                sending.timer.cancel()
            self._send_on(stream.id)

    def _echo_socket(self, family: socket.AddressFamily) -> socket.socket:
        if family not in self._echoes:
            with self._entered():
                sock = self._echoes[family] = echo.opened(family)
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            asyncio.get_running_loop().add_reader(sock, self._receive_echoes, family, sock)
        return self._echoes[family]

    def _sender(self, mode: Mode, source: Any, probe_port: int, patience_s: float) -> Callable[[bytes], None]:
        address, port = source[0], source[1]
        if mode == "udp":
            return lambda packet: self._send_udp(address, port, packet)
        if mode == "udp-new":
            return lambda packet: self._send_from_new_socket(address, port, packet)
        if mode == "tcp" and 0 < probe_port < 65536:
            patience_s = min(patience_s, MOST_PATIENCE_S)
            return lambda packet: self._connect_and_send(address, probe_port, packet, patience_s)
        raise ValueError(mode)

    def _send_on(self, stream_id: str) -> None:
        sending = self._sending.get(stream_id)
        if sending is None:
            return
        now = self._clock.boot_ns()
        if now >= sending.end_ns:
            self._end(stream_id)
            return
        sending.number += 1
        beacon = {"k": "b", "id": stream_id, "n": sending.number, "s": now, "u": now - self._since_ns}
        sending.send(json.dumps(beacon).encode())
        sending.timer = asyncio.get_running_loop().call_later(_pause_s(sending, now), self._send_on, stream_id)

    def _end(self, stream_id: str) -> None:
        sending = self._sending.pop(stream_id, None)
        if sending and sending.timer:
            sending.timer.cancel()

    def _new_socket(self, address: str, kind: socket.SocketKind) -> socket.socket:
        with self._entered():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            return socket.socket(family, kind | socket.SOCK_NONBLOCK)

    def _send_from_new_socket(self, address: str, port: int, packet: bytes) -> None:
        with self._new_socket(address, socket.SOCK_DGRAM) as sock, suppress(OSError):
            sock.sendto(packet, (address, port))

    def _connect_and_send(self, address: str, port: int, packet: bytes, patience_s: float) -> None:
        asyncio.get_running_loop().create_task(self._connecting(address, port, packet, patience_s))

    async def _connecting(self, address: str, port: int, packet: bytes, patience_s: float) -> None:
        loop = asyncio.get_running_loop()
        sock = self._new_socket(address, socket.SOCK_STREAM)
        with sock, suppress(OSError, TimeoutError):
            await asyncio.wait_for(loop.sock_connect(sock, (address, port)), patience_s)
            await loop.sock_sendall(sock, packet)


def _pause_s(sending: _Sending, now_ns: int) -> float:
    dense_s = DENSE_S[sending.mode]
    if any(low <= now_ns < high for low, high in sending.dense):
        return dense_s
    nearest = min((low for low, _ in sending.dense if low > now_ns), default=None)
    if nearest is None:
        return SPARSE_S
    return min(SPARSE_S, max(dense_s, (nearest - now_ns) / NS_PER_S))
