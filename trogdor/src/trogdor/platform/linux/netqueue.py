"""The reader of one netfilter queue: holds packets back, loses or damages some, and lets them go.

A small program of its own in the node's network namespace (``netqueue.py QUEUE``), so that no garbage collection or
burst of work elsewhere delays a packet. Standard library only. It reads the rules in force from standard input, a JSON
list a line (each line replaces the rules before it), and answers each with a line. It is bound to the queue only while
there are rules.

What undoes it: what sends packets here says ``--queue-bypass``, so they pass when nobody is bound. This program ends
when its standard input closes, which is when the agent dies; a watchdog above it kills it when it has not turned for
500 ms (stopped, or starved); and each rule carries its own end.

The numbers are the kernel's: linux/netfilter/nfnetlink_queue.h.
"""

import contextlib
import ctypes
import errno
import heapq
import ipaddress
import json
import mmap
import os
import random
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

NETLINK_NETFILTER = 12
MSG_PACKET, MSG_VERDICT, MSG_CONFIG = 0x300, 0x301, 0x302
CFG_CMD, CFG_PARAMS, CFG_QUEUE_MAXLEN, CFG_MASK, CFG_FLAGS = 1, 2, 3, 4, 5
CMD_BIND, CMD_UNBIND = 1, 2
COPY_PACKET = 2
FLAG_FAIL_OPEN, FLAG_GSO = 1, 4
ATTR_PACKET_HDR, ATTR_VERDICT_HDR, ATTR_PAYLOAD = 1, 2, 10
VERDICT_DROP, VERDICT_ACCEPT = 0, 1
REQUEST, ACK = 1, 4

HEADER_BYTES = 96
"""So much of each packet is copied to us: addresses and ports, also behind IPv6's usual extension headers."""

COPY_MARK = 0x7409_C0B1
"""Of a packet that is a copy, so that it is not queued again."""

MOST_WAITING = 200_000
PR_SET_PDEATHSIG = 1
TURN_S = 0.05
STALE_S = 0.5


@dataclass(frozen=True)
class Rule:
    """What is done to the packets from some addresses: delays add up over all rules that meet a packet."""

    sources: tuple[tuple[int, int, int], ...]
    """(IP version, network, mask) as numbers; empty: from everywhere."""
    protocol: int | None
    ports: tuple[tuple[int, int], ...]
    """Ranges of destination ports; empty: all."""
    delay_ms: float
    jitter_ms: float
    normal: bool
    loss: float
    burst: float
    """Mean length of a run of lost packets; 1: each is lost on its own (Gilbert's model)."""
    corrupt: float
    duplicate: float
    reorder: float
    seed: int
    until_ns: int

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Rule":
        """Reads a rule: ``sources`` CIDRs, ``protocol`` tcp/udp/icmp/any, ``ports`` "80" or "80-90", ``delayMs``,
        ``jitterMs``, ``distribution`` uniform or normal, ``lossPercent``, ``burst``, ``corruptPercent``,
        ``duplicatePercent``, ``reorderPercent``, ``seed``, ``untilNs`` of CLOCK_BOOTTIME."""
        networks = [ipaddress.ip_network(source, strict=False) for source in value.get("sources", [])]
        protocol = {"tcp": 6, "udp": 17, "icmp": 1}.get(value.get("protocol", "any"))
        ranges = [port.partition("-") for port in value.get("ports", [])]
        return cls(
            sources=tuple((n.version, int(n.network_address), int(n.netmask)) for n in networks),
            protocol=protocol,
            ports=tuple((int(low), int(high or low)) for low, _, high in ranges),
            delay_ms=float(value.get("delayMs", 0)),
            jitter_ms=float(value.get("jitterMs", 0)),
            normal=value.get("distribution", "uniform") == "normal",
            loss=float(value.get("lossPercent", 0)) / 100,
            burst=max(1.0, float(value.get("burst", 1))),
            corrupt=float(value.get("corruptPercent", 0)) / 100,
            duplicate=float(value.get("duplicatePercent", 0)) / 100,
            reorder=float(value.get("reorderPercent", 0)) / 100,
            seed=int(value.get("seed", 0)),
            until_ns=int(value["untilNs"]),
        )

    def meets(self, flow: "Flow") -> bool:
        """Whether this rule is meant for packets of ``flow``."""
        if self.protocol is not None and flow.protocol not in (self.protocol, 58 if self.protocol == 1 else -1):
            return False
        if self.ports and not any(low <= flow.port <= high for low, high in self.ports):
            return False
        return not self.sources or any(
            version == flow.version and flow.source & mask == network for version, network, mask in self.sources
        )


@dataclass(frozen=True, slots=True)
class Flow:
    """Where a packet comes from and what it is; ``port`` is its destination's, 0 where it has none."""

    version: int
    source: int
    protocol: int
    port: int


IPV6_EXTENSIONS = (0, 43, 60)


def flow_of(packet: bytes) -> Flow | None:
    """The flow a packet's first bytes tell, or None where they tell none."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        fragment = int.from_bytes(packet[6:8], "big") & 0x1FFF
        at = len(packet) if fragment else (packet[0] & 15) * 4
        return Flow(4, int.from_bytes(packet[12:16], "big"), packet[9], _port(packet[9], packet, at))
    if version == 6 and len(packet) >= 40:
        protocol, at = packet[6], 40
        while protocol in IPV6_EXTENSIONS and len(packet) >= at + 8:
            protocol, at = packet[at], at + 8 + packet[at + 1] * 8
        return Flow(6, int.from_bytes(packet[8:24], "big"), protocol, _port(protocol, packet, at))
    return None


def _port(protocol: int, packet: bytes, at: int) -> int:
    return int.from_bytes(packet[at + 2 : at + 4], "big") if protocol in (6, 17) else 0


class Lot(NamedTuple):
    """What becomes of one packet."""

    lost: bool
    held_ms: float
    damaged: bool
    twice: bool


class Chance:
    """One rule's own seeded random numbers, and whether it is within a run of losses."""

    def __init__(self, rule: Rule) -> None:
        self.random = random.Random(rule.seed)
        self.losing = False


class Fate:
    """Decides what happens to each packet; a rule that was in force before goes on where it was."""

    def __init__(self, rules: Sequence[Rule], before: "Fate | None" = None) -> None:
        known = list(before.rules) if before else []
        self.rules: list[tuple[Rule, Chance]] = []
        for rule in rules:
            found = next((pair for pair in known if pair[0] == rule), None)
            if found:
                known.remove(found)
            self.rules.append(found or (rule, Chance(rule)))

    def of(self, flow: Flow | None, now_ns: int) -> "Lot":
        """What becomes of a packet of this flow."""
        lost, damaged, twice, held_ms, overtakes = False, False, False, 0.0, False
        for rule, chance in self.rules:
            if now_ns >= rule.until_ns or flow is None or not rule.meets(flow):
                continue
            lost = _loses(rule, chance) or lost
            damaged = damaged or (rule.corrupt > 0 and chance.random.random() < rule.corrupt)
            twice = twice or (rule.duplicate > 0 and chance.random.random() < rule.duplicate)
            overtakes = overtakes or (rule.reorder > 0 and chance.random.random() < rule.reorder)
            held_ms += _held_ms(rule, chance.random)
        return Lot(lost, 0.0 if overtakes else held_ms, damaged, twice)


def _held_ms(rule: Rule, chance: random.Random) -> float:
    if not rule.jitter_ms:
        return rule.delay_ms
    draw = chance.gauss(0, 1) if rule.normal else chance.uniform(-1, 1)
    return max(0.0, rule.delay_ms + draw * rule.jitter_ms)


def _loses(rule: Rule, chance: Chance) -> bool:
    if not 0 < rule.loss < 1:
        return rule.loss >= 1
    if rule.burst == 1:
        return chance.random.random() < rule.loss
    ends = 1 / rule.burst
    begins = rule.loss * ends / (1 - rule.loss)
    drawn = chance.random.random()
    chance.losing = drawn >= ends if chance.losing else drawn < begins
    return chance.losing


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", len(data) + 4, kind) + data + bytes(-len(data) % 4)


class Queue:
    """The kernel's end: one netfilter queue. ``bind`` raises OSError when it cannot be had."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._bound = False
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._socket.bind((0, 0))
        self._socket.setblocking(False)
        self.fileno = self._socket.fileno

    def bind(self, whole: bool) -> None:
        """Packets come from now on: whole ones, or only their headers.

        Whole ones come segmented and with their checksums filled in, so that a bit flipped in one is found out by
        the receiver as it would be on a wire.
        """
        if not self._bound:
            self._ask_for_packets()
            self._configure(_attribute(CFG_QUEUE_MAXLEN, struct.pack(">I", MOST_WAITING)), REQUEST)
            self._bound = True
        flags = FLAG_FAIL_OPEN | (0 if whole else FLAG_GSO)
        self._configure(
            _attribute(CFG_PARAMS, struct.pack(">IB", 0xFFFF if whole else HEADER_BYTES, COPY_PACKET))
            + _attribute(CFG_FLAGS, struct.pack(">I", flags))
            + _attribute(CFG_MASK, struct.pack(">I", FLAG_FAIL_OPEN | FLAG_GSO)),
            REQUEST,
        )

    def unbind(self) -> None:
        """No packets come any more; the kernel lets go those that wait without a verdict."""
        if self._bound:
            self._configure(_attribute(CFG_CMD, struct.pack(">BBH", CMD_UNBIND, 0, 0)), REQUEST)
            self._bound = False

    def _message(self, kind: int, flags: int, attributes: bytes) -> bytes:
        body = struct.pack(">BBH", socket.AF_UNSPEC, 0, self._number) + attributes
        return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body

    def _configure(self, attributes: bytes, flags: int) -> None:
        self._socket.send(self._message(MSG_CONFIG, flags, attributes))

    def _ask_for_packets(self) -> None:
        """The one message whose answer is waited for: behind it, packets may come before any answer."""
        self._configure(_attribute(CFG_CMD, struct.pack(">BBH", CMD_BIND, 0, 0)), REQUEST | ACK)
        select.select([self._socket], [], [])
        code = -struct.unpack_from("=i", self._socket.recv(4096), 16)[0]
        if code:
            raise OSError(code, f"netfilter queue {self._number}: {os.strerror(code)}")

    def receive(self) -> Iterable[tuple[int, bytes]]:
        """(packet's id, its first bytes) of what waits now."""
        for _ in range(64):
            try:
                data = self._socket.recv(1 << 17)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENOBUFS:  # the kernel let these pass: fail open
                    continue
                raise
            yield from _packets(data)

    def decide(self, packet: int, verdict: int, payload: bytes = b"") -> None:
        """Lets a packet go, or drops it; ``payload`` replaces what it carries."""
        attributes = _attribute(ATTR_VERDICT_HDR, struct.pack(">II", verdict, packet))
        if payload:
            attributes += _attribute(ATTR_PAYLOAD, payload)
        try:
            self._socket.send(self._message(MSG_VERDICT, REQUEST, attributes))
        except BlockingIOError:
            select.select([], [self._socket], [], TURN_S)
            self._socket.send(self._message(MSG_VERDICT, REQUEST, attributes))


def _packets(data: bytes) -> Iterable[tuple[int, bytes]]:
    at = 0
    while at + 20 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 20:
            return
        if kind == MSG_PACKET:
            packet, payload, inner, end = 0, b"", at + 20, at + length
            while inner + 4 <= end:
                size, attribute = struct.unpack_from("=HH", data, inner)
                if size < 4:
                    break
                if attribute & 0x3FFF == ATTR_PACKET_HDR:
                    packet = struct.unpack_from(">I", data, inner + 4)[0]
                elif attribute & 0x3FFF == ATTR_PAYLOAD:
                    payload = data[inner + 4 : inner + size]
                inner += size + (-size % 4)
            yield packet, payload
        at += length + (-length % 4)


def damage(packet: bytes, seed: int) -> bytes:
    """The packet with one bit flipped behind its first 40 bytes, where it is so long, so that it still arrives."""
    if len(packet) <= 40:
        return packet
    chance = random.Random(seed)
    at = chance.randrange(40, len(packet))
    return packet[:at] + bytes([packet[at] ^ (1 << chance.randrange(8))]) + packet[at + 1 :]


class Copies:
    """Sends packets a second time, as they came: over lo to this machine itself, else on the way that routes say.

    The kernel delivers what it has routed to itself without asking where it came from.
    """

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}

    def send(self, packet: bytes) -> None:
        """Sends it, if it is whole and can be sent: a network may lose a copy."""
        version = packet[0] >> 4
        length = int.from_bytes(packet[2:4], "big") if version == 4 else 40 + int.from_bytes(packet[4:6], "big")
        if len(packet) != length:  # it was queued when headers alone were asked for
            return
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        if version not in self._sockets:
            made = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, COPY_MARK)
            made.setblocking(False)
            self._sockets[version] = made
        target = socket.inet_ntop(family, packet[16:20] if version == 4 else packet[24:40])
        with contextlib.suppress(OSError):
            self._sockets[version].sendto(packet, (target, 0))


class Reader:
    """The loop: packets in, each given its fate, let go at its time; rules from standard input."""

    def __init__(self, number: int, turned: mmap.mmap) -> None:
        self._queue = Queue(number)
        self._turned = turned
        self._fate = Fate(())
        self._copies = Copies()
        self._waiting: list[tuple[float, int, bytes, bytes]] = []
        self._partial = b""

    def run(self) -> None:
        """Until standard input closes; then everything that waits is let go."""
        while True:
            self._turned[:8] = struct.pack("=Q", time.clock_gettime_ns(time.CLOCK_BOOTTIME))
            wait_s = min(TURN_S, self._waiting[0][0] - time.monotonic()) if self._waiting else TURN_S
            readable, _, _ = select.select(
                [self._queue.fileno(), 0], [], [], max(0.0, wait_s)
            )  # exact to µs; epoll: to ms
            self._take()
            self._let_go(time.monotonic())
            if 0 in readable and not self._read_rules():
                break
        self._let_go(float("inf"))

    def _take(self) -> None:
        for packet, payload in self._queue.receive():
            lot = self._fate.of(flow_of(payload), time.clock_gettime_ns(time.CLOCK_BOOTTIME))
            if lot.lost:
                self._queue.decide(packet, VERDICT_DROP)
            elif lot.held_ms <= 0 and not lot.damaged and not lot.twice:
                self._queue.decide(packet, VERDICT_ACCEPT)
            else:
                changed = damage(payload, packet) if lot.damaged else b""
                copy = changed or payload if lot.twice else b""
                heapq.heappush(self._waiting, (time.monotonic() + lot.held_ms / 1000, packet, changed, copy))

    def _let_go(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            _, packet, changed, copy = heapq.heappop(self._waiting)
            self._queue.decide(packet, VERDICT_ACCEPT, changed)
            if copy:
                self._copies.send(copy)

    def _read_rules(self) -> bool:
        data = os.read(0, 1 << 20)
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            rules = [Rule.from_json(rule) for rule in json.loads(line)]
            self._fate = Fate(rules, self._fate)
            if rules:
                self._queue.bind(whole=any(rule.corrupt or rule.duplicate for rule in rules))
            else:
                self._let_go(float("inf"))
                self._queue.unbind()
            print(len(rules), flush=True)
        return bool(data)


def _watch(child: int, turned: mmap.mmap) -> int:
    """Waits for the reader; kills it when it has not turned for STALE_S while this watchdog itself was on time."""
    woke = time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        late = time.monotonic() - woke > STALE_S / 2
        turned_ns = struct.unpack("=Q", turned[:8])[0]
        stale = (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - turned_ns) / 1e9 > STALE_S
        if turned_ns and stale and not late:
            print("netqueue: the reader has not turned for 500 ms; killed, packets pass", file=sys.stderr, flush=True)
            os.kill(child, signal.SIGKILL)
        woke = time.monotonic()
        time.sleep(TURN_S)


def _die_with(parent: int) -> None:
    """Has the kernel kill this process when its parent ends: nobody reads the queue without a watchdog."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    """``netqueue.py QUEUE``."""
    number = int(sys.argv[1])
    turned = mmap.mmap(-1, 4096)
    watchdog = os.getpid()
    child = os.fork()
    if child:
        sys.exit(_watch(child, turned) and 1)
    _die_with(watchdog)
    try:
        Reader(number, turned).run()
    except (OSError, ValueError, KeyError) as error:
        print(f"netqueue: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
