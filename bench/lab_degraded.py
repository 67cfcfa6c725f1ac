"""Slow links as real sockets find them: what was asked for, beside what was measured.

    PYTHONPATH=trogdor/src:trogdor/tests python bench/lab_degraded.py [delays | counts | datagrams | streams]…

Delays by the time that a TCP connection takes, against one without the fault: the median of 41 of each, taken in turns.
Loss and copies by counting 2,000 packets of UDP. Rates as the device counts them, in bytes of frames, over the second
half of 8 s: of datagrams of 1 KiB, sent as fast as they are taken and dated by the kernel as they arrive, and of a TCP
connection. `other peer` is by how much the same figure of a link that the fault does not name differs from that
without a fault; beside a rate, first how many of 2,000 packets are missing that go to a peer that has none.
Aims: delay within 1 ms or 3 %, loss within 1 percentage point, rate within 8 %, other peers untouched.
"""

import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from statistics import median
from typing import Any

from trogdor.client import Client
from trogdor.lab import Lab

PACKETS, CONNECTS, RATE_S = 2000, 41, 8.0
DATAGRAM = 1024
PER_DATAGRAM, PER_SEGMENT = (1024 + 42) / 1024, 1514 / 1448
"""Bytes on the wire for each that is sent: with the headers of UDP or TCP, IP and Ethernet."""
SO_TIMESTAMPNS, SO_SNDBUFFORCE = 35, 32
DELAYS_MS, LOSSES, RATES_KBIT = (1, 5, 20, 50, 100), (1, 5, 20), (500, 2000, 20_000)
PORT = 5900


@contextmanager
def fault(client: Client, name: str, **terms: Any) -> Iterator[None]:
    """n2 → n1 made worse while the block runs."""
    spec = {"class": "DegradedLinksFaultSpec", "durationMs": 300_000, "seed": 1,
            "links": [{"from": "n2", "to": "n1", **terms}]}  # fmt: skip
    client.create_task(name, spec)
    while (task := client.task(name))["state"] == "PENDING":
        time.sleep(0.02)
    assert task["state"] == "RUNNING", task
    time.sleep(0.3)
    yield
    client.stop_task(name)
    client.wait_for_done(name, deadline_s=30)


@contextmanager
def listener(lab: Lab) -> Iterator[None]:
    """n1 listens: the kernel answers, which is all that is measured."""
    with closing(lab.nodes["n1"].socket()) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((lab.nodes["n1"].address, PORT))
        server.listen(4096)  # nobody accepts: each connection of the run stays in the queue
        yield


def connect_ms(lab: Lab, source: str) -> float:
    """How long the three-way handshake takes: the fault holds one of its two packets back."""
    stream = lab.nodes[source].socket()
    began = time.perf_counter()
    stream.connect((lab.nodes["n1"].address, PORT))
    took_ms = (time.perf_counter() - began) * 1000
    stream.close()
    return took_ms


def connects(lab: Lab) -> tuple[float, float]:
    """The medians from n2, which the faults name, and from n3, which they do not."""
    pairs = [(connect_ms(lab, "n2"), connect_ms(lab, "n3")) for _ in range(CONNECTS)]
    named, other = zip(*pairs, strict=True)
    return median(named), median(other)


def arrived(lab: Lab, source: str, target: str = "n1") -> float:
    """Packets of 100 sent, 10,000 a second, that came."""
    with closing(lab.nodes[target].socket(socket.AF_INET, socket.SOCK_DGRAM)) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        receiver.bind((lab.nodes[target].address, 0))
        with closing(lab.nodes[source].socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
            for number in range(PACKETS):
                sender.sendto(b"x" * 64, receiver.getsockname())
                if number % 20 == 0:
                    time.sleep(0.002)
        receiver.settimeout(1.0)
        came = 0
        try:
            while receiver.recv(100):
                came += 1
        except TimeoutError:
            return 100 * came / PACKETS


def datagrams_kbit(lab: Lab, target: str) -> float:
    """The rate at which n2's frames reach a node, in kbit/s."""
    with closing(lab.nodes[target].socket(socket.AF_INET, socket.SOCK_DGRAM)) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        receiver.bind((lab.nodes[target].address, 0))
        receiver.settimeout(1.0)
        sender = lab.nodes["n2"].socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 20)  # the queue is full while we are not scheduled
        sender.connect(receiver.getsockname())
        return PER_DATAGRAM * per_second(sender, DATAGRAM, lambda: _dated(receiver)) * 8 / 1000


def stream_kbit(lab: Lab, target: str) -> float:
    """The same by TCP."""
    with closing(lab.nodes[target].socket()) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((lab.nodes[target].address, PORT + 1))
        server.listen()
        sender = lab.nodes["n2"].connect(lab.nodes[target].address, PORT + 1)
        receiver, _ = server.accept()
    receiver.settimeout(5.0)
    with closing(receiver):
        return PER_SEGMENT * per_second(sender, 16384, lambda: (len(receiver.recv(1 << 20)), time.time())) * 8 / 1000


def _dated(receiver: socket.socket) -> tuple[int, float]:
    data, ancillary, *_ = receiver.recvmsg(2048, 64)
    seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
    return len(data), seconds + nanoseconds / 1e9


def per_second(sender: socket.socket, size: int, receive: Callable[[], tuple[int, float]]) -> float:
    """Bytes a second from the first arrival of the second half to the last.

    The last one's are not counted: a limit makes the next one wait for what was sent before it.
    """
    until = time.time() + RATE_S
    pushing = threading.Thread(target=_push, args=(sender, size, until))
    pushing.start()
    total, first, last, count = 0, 0.0, 0.0, 0
    while last < until:
        total += count if first else 0
        count, last = receive()
        if not first and last > until - RATE_S / 2:
            first = last
    pushing.join()
    return total / (last - first)


def _push(sender: socket.socket, size: int, until: float) -> None:
    sender.settimeout(2.0)
    with closing(sender), suppress(OSError):
        while time.time() < until + 2.0:  # the last to be counted arrives after the time
            sender.send(bytes(size))


UNITS = {"delay": "ms", "loss": "%", "copies": "%", "rate": "kbit/s", "rate TCP": "kbit/s"}


def row(what: str, asked: float, seen: float, within: float, other: str) -> None:
    good, unit = "yes" if abs(seen - asked) <= within else "NO", UNITS[what]
    print(f"{what:8}  {asked:8g} {unit:6}  {seen:10.2f} {unit:6}  {within:7.2f}  {good:4}  {other}", flush=True)


def measure_delays(lab: Lab, client: Client) -> None:
    with listener(lab):
        base, base_other = connects(lab)
        for asked in DELAYS_MS:
            with fault(client, f"delay-{asked}", delayMs=asked):
                named, other = connects(lab)
            row("delay", asked, named - base, max(1.0, 0.03 * asked), f"{other - base_other:+.2f} ms")


def measure_counts(lab: Lab, client: Client) -> None:
    for what, field in (("loss", "lossPercent"), ("copies", "duplicatePercent")):
        for asked in LOSSES:
            with fault(client, f"{what}-{asked}", **{field: asked}):
                named, other = arrived(lab, "n2"), arrived(lab, "n3")
            row(what, asked, abs(100 - named), 1.0, f"{other - 100:+.2f} %")


def measure_datagrams(lab: Lab, client: Client) -> None:
    measure_rates(lab, client, "rate", datagrams_kbit)


def measure_streams(lab: Lab, client: Client) -> None:
    measure_rates(lab, client, "rate TCP", stream_kbit)


def measure_rates(lab: Lab, client: Client, what: str, measured: Callable[[Lab, str], float]) -> None:
    free = measured(lab, "n3")
    for asked in RATES_KBIT:
        with fault(client, f"{what}-{asked}".replace(" ", "-"), rateKbit=asked):
            named, other, came = measured(lab, "n1"), measured(lab, "n3"), arrived(lab, "n2", "n3")
        row(what, asked, named, 0.08 * asked, f"{came - 100:+.2f} %; flat out {100 * other / free - 100:+.0f} %")


PARTS = {
    "delays": measure_delays,
    "counts": measure_counts,
    "datagrams": measure_datagrams,
    "streams": measure_streams,
}


def main() -> None:
    parts = sys.argv[1:] or list(PARTS)
    if unknown := set(parts) - PARTS.keys():
        sys.exit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    with Lab(nodes=3) as lab:
        lab.start_daemons()
        with lab.client() as client:
            print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
            print(f"{'':8}  {'asked':>15}  {'measured':>17}  {'within':>7}  {'is':4}  other peer")
            for part in parts:
                PARTS[part](lab, client)


if __name__ == "__main__":
    main()
