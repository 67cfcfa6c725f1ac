"""Slow links as real sockets find them: what was asked for, beside what was measured.

    PYTHONPATH=trogdor/src:trogdor/tests python bench/lab_degraded.py

Delays by the time that a TCP connection takes, against one without the fault: the median of 41 of each, taken in turns.
Loss and copies by counting 2,000 packets of UDP. Rates by bytes that arrive in the second half of 4 s. `other peer` is
by how much the same figure of a link that the fault does not name differs from that without a fault.
Aims: delay within 1 ms or 3 %, loss within 1 percentage point, rate within 8 %, other peers untouched.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from statistics import median
from typing import Any

from trogdor.client import Client
from trogdor.lab import Lab

PACKETS, CONNECTS, RATE_S = 2000, 41, 4.0
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


def arrived(lab: Lab, source: str) -> float:
    """Packets of 100 sent that came."""
    with closing(lab.nodes["n1"].socket(socket.AF_INET, socket.SOCK_DGRAM)) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        receiver.bind((lab.nodes["n1"].address, 0))
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


def sent_kbit(lab: Lab, target: str) -> float:
    """What n2 gets through to a node, in kbit/s, in the second half of the time."""
    with closing(lab.nodes[target].socket()) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((lab.nodes[target].address, PORT + 1))
        server.listen()
        sender = lab.nodes["n2"].connect(lab.nodes[target].address, PORT + 1)
        receiver, _ = server.accept()
    until = time.perf_counter() + RATE_S
    pushing = threading.Thread(target=_push, args=(sender, until))
    pushing.start()
    total, counted_from = 0, until - RATE_S / 2
    receiver.settimeout(RATE_S)  # a packet of 64 KiB takes a second at 500 kbit/s
    with closing(receiver), closing(sender):
        while (now := time.perf_counter()) < until:
            data = receiver.recv(1 << 20)
            total += len(data) if now > counted_from else 0
        sender.shutdown(socket.SHUT_RDWR)
        pushing.join()
    return total * 8 / 1000 / (RATE_S / 2)


def _push(sender: socket.socket, until: float) -> None:
    sender.settimeout(1.0)
    try:
        while time.perf_counter() < until:
            sender.send(bytes(16384))
    except OSError:
        return


UNITS = {"delay": "ms", "loss": "%", "copies": "%", "rate": "kbit/s"}


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


def measure_rates(lab: Lab, client: Client) -> None:
    for asked in RATES_KBIT:
        free = sent_kbit(lab, "n3")
        with fault(client, f"rate-{asked}", rateKbit=asked):
            named, other = sent_kbit(lab, "n1"), sent_kbit(lab, "n3")
        row("rate", asked, named, 0.08 * asked, f"{100 * other / free - 100:+.0f} %")


def main() -> None:
    with Lab(nodes=3) as lab:
        lab.start_daemons()
        with lab.client() as client:
            print(f"{'':8}  {'asked':>15}  {'measured':>17}  {'within':>7}  {'is':4}  other peer")
            measure_delays(lab, client)
            measure_counts(lab, client)
            measure_rates(lab, client)


if __name__ == "__main__":
    main()
