"""Slow links as real sockets see them: what is asked for happens, to no one else, and nothing stays.

Delays are long and compared with each other, so that a busy machine changes nothing.
"""

import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from trogdor.claim.model import Claim, Term
from trogdor.claim.place import Place
from trogdor.claim.resource import Resource
from trogdor.lab import Lab
from trogdor.platform.linux.qdisc import Qdisc
from trogdor.platform.linux.queue import KEY, PacketQueue, rules_for

pytestmark = pytest.mark.lab

FAR = 2**62
HELD_MS = 400
DEADLINE_S = 60.0
WHOLE = {"match": None, "rateKbit": 5000}


def claim(kind: str, key: str, want: Any, number: int = 1, end_ns: int = FAR) -> Claim:
    return Claim(f"{number}/0", kind, key, want, Term("t", number, 0, end_ns))


@contextmanager
def held(resource: Resource, *claims: Claim) -> Iterator[None]:
    bases = {claim.key: resource.base(claim.key) for claim in claims}
    resource.prepare(claims)
    try:
        assert resource.apply(claims, bases, 0) == {}
        yield
    finally:
        resource.apply([], bases, 0)
        resource.discard(claims)
        assert not resource.leftovers()
        for key, base in bases.items():
            assert resource.observe(key) == base
        resource.close()


def queue_of(lab: Lab, name: str) -> PacketQueue:
    return PacketQueue(Place.of_process(lab.nodes[name].pid or 0), name)


@contextmanager
def listening(lab: Lab, name: str, port: int) -> Iterator[socket.socket]:
    with closing(lab.nodes[name].socket()) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((lab.nodes[name].address, port))
        server.listen(64)
        yield server


def connect_ms(lab: Lab, source: str, target: str, port: int) -> float:
    """The least of five connect times: what the network adds, whatever the machine does."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        lab.nodes[source].connect(lab.nodes[target].address, port, timeout=30).close()
        best = min(best, (time.perf_counter() - began) * 1000)
    return best


def test_a_delayed_peer_answers_late_and_the_others_do_not(lab: Lab) -> None:
    want = {"sources": [lab.nodes["n2"].address], "delayMs": HELD_MS}
    with listening(lab, "n2", 5001), listening(lab, "n3", 5001):
        with held(queue_of(lab, "n1"), claim("queue", KEY, want)):
            assert connect_ms(lab, "n1", "n2", 5001) >= HELD_MS
            assert connect_ms(lab, "n1", "n3", 5001) < HELD_MS / 2
        assert connect_ms(lab, "n1", "n2", 5001) < HELD_MS / 2


@pytest.mark.parametrize("version", [4, 6])
def test_packets_of_one_peer_arrive_twice_and_those_of_others_once(lab: Lab, version: int) -> None:
    n1, n2, n3 = (addresses(lab, name)[version] for name in ("n1", "n2", "n3"))
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    want = {"sources": [n2], "duplicatePercent": 100}
    with closing(lab.nodes["n1"].socket(family, socket.SOCK_DGRAM)) as receiver:
        receiver.bind((n1, 0))
        receiver.settimeout(DEADLINE_S)
        port = receiver.getsockname()[1]
        with held(queue_of(lab, "n1"), claim("queue", KEY, want)):
            for name in ("n2", "n3"):
                with closing(lab.nodes[name].socket(family, socket.SOCK_DGRAM)) as sender:
                    for number in range(50):
                        sender.sendto(f"{name} {number}".encode(), (n1, port))
            last = [receiver.recvfrom(100) for _ in range(150)]
        receiver.setblocking(False)
        with pytest.raises(BlockingIOError):
            receiver.recv(100)
    came = Counter((data.decode(), address[0]) for data, address in last)
    assert came == Counter({(f"n2 {number}", n2): 2 for number in range(50)}) + Counter(
        {(f"n3 {number}", n3): 1 for number in range(50)}
    )


def addresses(lab: Lab, name: str) -> dict[int, str]:
    """A node's address of each IP version."""
    node = lab.nodes[name]
    return {4: node.address, 6: node.address6}


def test_only_the_port_that_was_named_is_slow(lab: Lab) -> None:
    want = {"sources": [lab.nodes["n2"].address], "protocol": "tcp", "ports": ["5002"], "delayMs": HELD_MS}
    with listening(lab, "n1", 5002), listening(lab, "n1", 5003), held(queue_of(lab, "n1"), claim("queue", KEY, want)):
        assert connect_ms(lab, "n2", "n1", 5002) >= HELD_MS
        assert connect_ms(lab, "n2", "n1", 5003) < HELD_MS / 2


def test_overlapping_delays_add_up_and_end_in_any_order(lab: Lab) -> None:
    queue, address = queue_of(lab, "n1"), lab.nodes["n2"].address
    first = claim("queue", KEY, {"sources": [address], "delayMs": HELD_MS}, 1)
    second = claim("queue", KEY, {"sources": [f"{address}/32"], "delayMs": HELD_MS}, 2)
    with listening(lab, "n2", 5004), held(queue, first, second):
        assert connect_ms(lab, "n1", "n2", 5004) >= 2 * HELD_MS
        queue.apply([second], {KEY: None}, 0)
        assert HELD_MS <= connect_ms(lab, "n1", "n2", 5004) < 2 * HELD_MS


def test_a_rule_ends_by_itself_at_its_own_time(lab: Lab) -> None:
    want = {"sources": [lab.nodes["n2"].address], "delayMs": HELD_MS}
    over = claim("queue", KEY, want, end_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    with listening(lab, "n2", 5005), held(queue_of(lab, "n1"), over):
        assert connect_ms(lab, "n1", "n2", 5005) < HELD_MS / 2


def test_a_queue_whose_reader_died_lets_packets_pass_and_is_undone(lab: Lab) -> None:
    queue = queue_of(lab, "n1")
    first, second = (claim("queue", KEY, {"sources": [lab.nodes["n2"].address], "delayMs": HELD_MS}, n) for n in (1, 2))
    with listening(lab, "n2", 5006), held(queue, first, second):
        assert queue._reader is not None
        queue._reader.kill()
        queue._reader.wait(30)
        assert connect_ms(lab, "n1", "n2", 5006) < HELD_MS / 2
        assert queue.apply([second], {KEY: None}, 0)[KEY].what == "gone"
        assert queue.apply([], {KEY: None}, 0) == {}


def test_what_the_kernel_shows_is_the_fold(lab: Lab) -> None:
    queue = queue_of(lab, "n1")
    n2, n3 = lab.nodes["n2"].address, lab.nodes["n3"].address
    beacons = {"sources": [n3], "protocol": "udp", "ports": ["1-9"], "lossPercent": 1, "exempt": [[n3, 8888]]}
    claims = [
        claim("queue", KEY, {"sources": [n2, "fd00::/8"], "delayMs": 1}, 1),
        claim("queue", KEY, beacons, 2),
    ]
    with held(queue, *claims):
        assert queue.rules() == {version: rules_for([claim.want for claim in claims], version) for version in (4, 6)}
        assert queue.observe(KEY) == "held"


def test_nothing_is_held_before_the_instant_although_all_is_prepared(lab: Lab) -> None:
    queue = queue_of(lab, "n1")
    one = claim("queue", KEY, {"sources": [lab.nodes["n2"].address], "delayMs": HELD_MS})
    queue.prepare([one])
    try:
        with listening(lab, "n2", 5008):
            assert queue.observe(KEY) is None
            assert connect_ms(lab, "n1", "n2", 5008) < HELD_MS / 2
    finally:
        queue.discard([one])
    assert not queue.leftovers()


def test_packets_pass_as_soon_as_the_reader_is_gone(lab: Lab) -> None:
    queue = queue_of(lab, "n1")
    one = claim("queue", KEY, {"sources": [lab.nodes["n2"].address], "lossPercent": 100}, 1)
    with listening(lab, "n2", 5006), held(queue, one):
        with pytest.raises(TimeoutError):
            lab.nodes["n1"].connect(lab.nodes["n2"].address, 5006, timeout=0.5)
        assert queue.lost([one]) == {}
        queue._end_reader()
        assert connect_ms(lab, "n1", "n2", 5006) < 30_000
        assert one.id in queue.lost([one])


def test_a_reader_that_stands_still_is_killed_by_its_watchdog_and_packets_pass(lab: Lab) -> None:
    queue = queue_of(lab, "n1")
    one = claim("queue", KEY, {"sources": [lab.nodes["n2"].address], "lossPercent": 100}, 1)
    with listening(lab, "n2", 5006), held(queue, one):
        assert queue._reader is not None
        watchdog = queue._reader.pid
        (reader,) = Path(f"/proc/{watchdog}/task/{watchdog}/children").read_text().split()
        os.kill(int(reader), signal.SIGSTOP)
        assert connect_ms(lab, "n1", "n2", 5006) < 30_000
        assert queue._reader.wait(30) != 0
        assert one.id in queue.lost([one])


def received_bytes(lab: Lab, source: str, target: str, port: int, seconds: float) -> float:
    """Bytes a second that arrive over TCP, after the first burst."""
    with (
        listening(lab, target, port) as server,
        closing(lab.nodes[source].connect(lab.nodes[target].address, port, timeout=10)) as sender,
    ):
        receiver, _ = server.accept()
        with closing(receiver):
            sender.setblocking(False)
            receiver.settimeout(0.05)
            total, began, counted_from = 0, time.perf_counter(), time.perf_counter() + seconds / 2
            while time.perf_counter() - began < seconds:
                for step in (lambda: sender.send(bytes(65536)), lambda: receiver.recv(1 << 20)):
                    try:
                        moved = step()
                    except (BlockingIOError, TimeoutError):
                        continue
                    if isinstance(moved, bytes) and time.perf_counter() > counted_from:
                        total += len(moved)
            return total / (time.perf_counter() - counted_from)


def test_a_limited_link_sends_no_more_than_its_rate_and_others_do(lab: Lab) -> None:
    qdisc = Qdisc(Place.of_process(lab.nodes["n1"].pid or 0), "n1")
    want = {"match": {"to": f"{lab.nodes['n2'].address}/32"}, "rateKbit": 2000}
    with held(qdisc, claim("qdisc", "eth0", want)):
        assert qdisc.observe("eth0") == qdisc.fold("default", [want])
        limited = received_bytes(lab, "n1", "n2", 5007, 2.0)
        free = received_bytes(lab, "n1", "n3", 5007, 1.0)
    assert limited <= 2_000_000 / 8 * 1.25
    assert free > 4 * limited


def test_a_rate_is_set_by_one_program_and_ends_without_one(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    qdisc, limited = Qdisc(Place.of_process(lab.nodes["n1"].pid or 0), "n1"), claim("qdisc", "eth0", WHOLE)
    started = []

    def run(*arguments: Any, **options: Any) -> Any:
        started.append(arguments[0])
        return subprocess.CompletedProcess(arguments[0], 0, "", "")

    with held(qdisc, limited):
        monkeypatch.setattr(subprocess, "run", run)
        assert qdisc.apply([], {"eth0": "default"}, 0) == {}
        assert started == []
        assert qdisc.apply([limited], {"eth0": "default"}, 0) == {}
        assert [command[:2] for command in started] == [["tc", "-batch"]]
        monkeypatch.undo()
        assert qdisc.observe("eth0") == "default"


def test_a_device_that_somebody_else_has_set_is_refused_and_left_alone(lab: Lab) -> None:
    qdisc = Qdisc(Place.of_process(lab.nodes["n3"].pid or 0), "n3")
    lab.nodes["n3"].exec(["tc", "qdisc", "add", "dev", "eth0", "root", "handle", "1:", "tbf", "rate", "1gbit",
                          "burst", "1mb", "latency", "10ms"], check=True)  # fmt: skip
    try:
        with pytest.raises(Exception, match="root qdisc of its own"):
            qdisc.prepare([claim("qdisc", "eth0", {"match": None, "rateKbit": 5})])
        troubles = qdisc.apply([claim("qdisc", "eth0", {"match": None, "rateKbit": 5})], {"eth0": "default"}, 0)
        assert troubles["eth0"].what == "changed"
        assert qdisc.observe("eth0") == "tbf"
    finally:
        lab.nodes["n3"].exec(["tc", "qdisc", "del", "dev", "eth0", "root"], check=True)
