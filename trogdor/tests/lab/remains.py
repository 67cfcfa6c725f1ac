"""What is left of faults, looked for without the code that injects, and how long one may wait for it to go."""

import itertools
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from lab.seeing import Listener
from trogdor.lab import Node, traces

LONGEST_S = 20.0
LOOK_S = 0.05
SEND_AGAIN_S = 0.01
_PRESSURE = Path("/proc/pressure/cpu")
_calls = itertools.count(1)


class Deadline:
    """Over after ``within_s`` in which a program that wanted to run could; after ``LONGEST_S`` in any case.

    What the kernel counts as time in which somebody waited for a processor is not the product's. Where it does not
    count, only ``LONGEST_S`` holds: a test cannot tell a stalled machine from a late product there.
    """

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._since, self._starved_since_s = time.monotonic(), _starved_s()

    def is_over(self) -> bool:
        waited_s = time.monotonic() - self._since
        starved_s = waited_s if self._starved_since_s is None else (_starved_s() or 0.0) - self._starved_since_s
        return waited_s > LONGEST_S or waited_s - starved_s > self._within_s

    def __str__(self) -> str:
        return f"{time.monotonic() - self._since:.2f} s later (allowed: {self._within_s:g} s of an idle machine)"


def _starved_s() -> float | None:
    """For how long, of all time, some process had to wait for a processor."""
    try:
        return int(_PRESSURE.read_text().split("total=", 1)[1].split()[0]) / 1e6
    except (OSError, IndexError):
        return None


def until_gone(look: Callable[[], list[str]], within_s: float) -> float:
    """How many ms after now the first look began that found nothing.

    Raises AssertionError when one that began after ``within_s`` still found something.
    """
    deadline, since = Deadline(within_s), time.monotonic()
    while True:
        is_last, began = deadline.is_over(), time.monotonic()
        if not (left := look()):
            return (began - since) * 1000
        if is_last:
            raise AssertionError(f"left {deadline}: {'; '.join(left)}")
        time.sleep(LOOK_S)


def blocked(source: Node, target: Listener, within_s: float) -> list[str]:
    """The IP versions over which none of many packets gets from a node to a listener.

    One packet would not do: whoever changes a device's root qdisc, as a rate's begin and end must, loses what leaves
    by it for some ms.
    """
    addresses = {socket.AF_INET: target.node.address, socket.AF_INET6: target.node.address6}
    deadline, call = Deadline(within_s), next(_calls)
    with ExitStack() as stack:
        ways = {
            family: stack.enter_context(source.socket(family, socket.SOCK_DGRAM))
            for family, address in addresses.items()
            if address
        }
        payloads = {family: f"{call} {family.name}".encode() for family in ways}
        why = dict.fromkeys(ways, "silence")
        while True:
            is_last = deadline.is_over()
            for family, way in ways.items():
                try:
                    way.sendto(payloads[family], (addresses[family], target.ports["udp"]))
                except OSError as error:
                    why[family] = str(error)
            time.sleep(SEND_AGAIN_S)
            ways = {family: way for family, way in ways.items() if payloads[family] not in target.arrived}
            if not ways or is_last:
                return [f"{source.name} → {target.node.name} over {family.name}: {why[family]}" for family in ways]


def left_on(node: Node) -> list[str]:
    """Tables, stopped processes, chains and qdiscs of a fault on a node; what is cheap to look at comes first."""
    tables = [f"{node.name}: table {name}" for name in traces.nft_tables(node) if name.startswith("trogdor")]
    return tables or stopped(node) or slowed(node)


def stopped(node: Node) -> list[str]:
    """The sleeping process that is paused; a stopped agent is the test's own doing."""
    return [f"{node.name}: stopped: {line}" for line in traces.stopped(node) if line.endswith("sleep 86400")]


def limited(node: Node) -> list[str]:
    """Rates."""
    return [line for line in slowed(node) if " htb " in line]


def slowed(node: Node) -> list[str]:
    """Rules of packet queues, and rates."""
    shown = node.exec(["sh", "-ec", "iptables-save; ip6tables-save; tc qdisc show"])
    if shown.returncode:
        return [f"{node.name}: cannot look: {shown.stderr}"]
    return [f"{node.name}: {line}" for line in shown.stdout.splitlines() if "TROGDOR" in line or " htb " in line]
