"""Cut links as real sockets see them, over a veth: what is asked for, and no more, until its end at the latest."""

import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.seeing import Listener, reach
from lab.waiting import wait_until
from trogdor.claim.ledger import Ledger, boot_ns
from trogdor.claim.model import Claim, Term
from trogdor.claim.place import Place
from trogdor.lab import Lab, Node
from trogdor.lab.node import NodeProcess
from trogdor.platform.linux.cut import Cut, key_of

pytestmark = pytest.mark.lab

KINDS = {"nft": "trogdor.platform.linux.cut:Cut"}
HOUR_NS = 3_600 * 10**9
_workers = itertools.count(1)


def want(addresses: list[str], **changes: Any) -> dict[str, Any]:
    every = {"hook": "in", "addresses": addresses, "local": [], "protocol": "any", "ports": [], "connections": "all",
             "action": "drop", "exempt": []}  # fmt: skip
    return {**every, **changes}


def claim(wanted: dict[str, Any], worker: int | None = None, end_ns: int | None = None) -> Claim:
    worker = worker or next(_workers)
    now = boot_ns()
    key = key_of(wanted)
    term = Term(f"t{worker}", worker, now, end_ns or now + HOUR_NS)
    return Claim(f"{worker}/{key}/{','.join(wanted['addresses'])}", "nft", key, wanted, term)


@pytest.fixture
def ledger(lab: Lab, tmp_path: Path) -> Iterator[Ledger]:
    """On n2, the node where everything is cut in these tests."""
    opened = Ledger.open(tmp_path, "n2", KINDS, place=Place.of_process(lab.nodes["n2"].pid))
    yield opened
    opened.close()
    eyes = Cut(opened.site.place, "n2")
    assert eyes.tables() == []
    eyes.close()


@contextmanager
def in_force(ledger: Ledger, *claims: Claim) -> Iterator[None]:
    ledger.admit(claims)
    assert ledger.fire([each.id for each in claims]).troubles == {}
    yield
    assert ledger.release([each.id for each in claims], "end").failed == ()


def test_what_is_armed_cuts_nothing_and_what_is_fired_cuts_one_way(lab: Lab, ledger: Ledger) -> None:
    n1, n2, n3 = (lab.nodes[name] for name in ("n1", "n2", "n3"))
    cut = claim(want([n1.address, n1.address6]))
    with Listener(n1) as at1, Listener(n2) as at2:
        ledger.admit([cut])
        assert reach(n1, at2) == reach(n1, at2, "udp") == "open"
        assert ledger.fire([cut.id]).troubles == {}
        assert reach(n1, at2, "udp") == reach(n1, at2, "udp", ipv6=True) == "blocked"
        assert reach(n1, at2) == "blocked"
        assert reach(n2, at1, "udp") == "open"
        assert reach(n3, at2) == "open"
        ledger.release([cut.id], "end")
        assert reach(n1, at2) == reach(n1, at2, "udp", ipv6=True) == "open"


def test_ports_and_protocol_are_all_that_is_cut(lab: Lab, ledger: Ledger) -> None:
    n1, n2 = lab.nodes["n1"], lab.nodes["n2"]
    with Listener(n2) as first, Listener(n2) as second:
        ports = [str(first.ports["tcp"])]
        with in_force(ledger, claim(want([n1.address], protocol="tcp", ports=ports))):
            assert reach(n1, first) == "blocked"
            assert reach(n1, second) == reach(n1, first, "udp") == "open"


def test_a_rejected_sender_is_told_at_once(lab: Lab, ledger: Ledger) -> None:
    n1, n2 = lab.nodes["n1"], lab.nodes["n2"]
    with Listener(n2) as at2, in_force(ledger, claim(want([n1.address], action="reject"))):
        assert reach(n1, at2, timeout_s=30) == "refused"


@pytest.mark.parametrize("protocol", ["any", "tcp"])
def test_established_connections_go_on_when_only_new_ones_are_cut(lab: Lab, ledger: Ledger, protocol: str) -> None:
    n1, n2 = lab.nodes["n1"], lab.nodes["n2"]
    server = n2.socket()
    server.bind((n2.address, 0))
    server.listen()
    before = n1.connect(n2.address, server.getsockname()[1], timeout=5)
    accepted = server.accept()[0]
    with Listener(n2) as at2, in_force(ledger, claim(want([n1.address], connections="new", protocol=protocol))):
        assert reach(n1, at2) == "blocked"
        before.sendall(b"still here")
        accepted.settimeout(10)
        assert accepted.recv(100) == b"still here"
        assert reach(n2, Listener(n1)) == "open"
    for each in (before, accepted, server):
        each.close()


def test_what_leaves_is_cut_where_the_other_end_has_no_agent(lab: Lab, ledger: Ledger) -> None:
    n1, n2 = lab.nodes["n1"], lab.nodes["n2"]
    with Listener(n1) as at1, in_force(ledger, claim(want([n1.address], hook="out"))):
        assert reach(n2, at1, "udp") == "blocked"
    with Listener(n1) as at1:
        assert reach(n2, at1, "udp") == "open"


@pytest.fixture
def container(lab: Lab) -> Iterator[NodeProcess]:
    """A container on n2, with an address of its own that n1 reaches through n2."""
    n1, n2 = lab.nodes["n1"], lab.nodes["n2"]
    with n2.popen(["unshare", "-n", "sleep", "1000"]) as inside:
        enter = f"nsenter -t {inside.pid} -n"
        wait_until(lambda: n2.exec(["sh", "-c", f"{enter} ip link | grep -q eth0"]).returncode != 0)
        n2.exec(["sh", "-ec", f"""
            ip link add vc0 type veth peer name vc1 netns {inside.pid}
            ip addr add 10.99.0.1/24 dev vc0; ip link set vc0 up
            {enter} ip addr add 10.99.0.2/24 dev vc1; {enter} ip link set vc1 up
            {enter} ip route add default via 10.99.0.1
            echo 1 > /proc/sys/net/ipv4/ip_forward"""], check=True)  # fmt: skip
        n1.exec(["ip", "route", "add", "10.99.0.0/24", "via", n2.address], check=True)
        yield inside
        n1.exec(["ip", "route", "del", "10.99.0.0/24"], check=True)
        n2.exec(["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward; ip link del vc0"], check=True)


CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), timeout=0.5)
except ConnectionRefusedError:
    sys.exit(7)
except OSError:
    sys.exit(8)
"""


def answers(node: Node, address: str, enter: Sequence[str] = ()) -> bool:
    """Whether a closed port there says that it is closed."""
    code = node.exec([*enter, sys.executable, "-S", "-c", CONNECT, address]).returncode
    assert code in (7, 8), code
    return code == 7


def test_what_a_container_gets_and_sends_is_cut_with_its_node(lab: Lab, ledger: Ledger, container: NodeProcess) -> None:
    n1, n2 = lab.nodes["n1"], lab.nodes["n2"]
    enter = ["nsenter", "-t", str(container.pid), "-n"]
    wait_until(lambda: answers(n1, "10.99.0.2"))
    with in_force(ledger, claim(want([n1.address]))):
        assert not answers(n1, "10.99.0.2")
    wait_until(lambda: answers(n2, n1.address, enter))
    with in_force(ledger, claim(want([n1.address], hook="out"))):
        assert not answers(n2, n1.address, enter)
    wait_until(lambda: answers(n2, n1.address, enter))


def test_exactly_the_exempt_flow_passes(lab: Lab, ledger: Ledger) -> None:
    n1, n2 = lab.nodes["n1"], lab.nodes["n2"]
    with Listener(n2) as control, Listener(n2) as other:
        exempt = [[n1.address, control.ports["tcp"]]]
        everything = ["0.0.0.0/0", "::/0"]
        both = [claim(want(everything, hook=hook, exempt=exempt), 900) for hook in ("in", "out")]
        with in_force(ledger, *both):
            assert reach(n1, control) == "open"
            assert reach(n1, other) == "blocked"
            assert reach(n1, control, "udp") == "blocked"


def test_overlapping_claims_compose_and_each_end_takes_only_its_own(lab: Lab, ledger: Ledger) -> None:
    n1, n2, n3 = (lab.nodes[name] for name in ("n1", "n2", "n3"))
    wide, narrow = claim(want(["10.0.0.0/8", "0.0.0.0/1"])), claim(want([n1.address, n1.address]))
    twice = claim(want([n1.address]))
    with Listener(n2) as at2:
        ledger.admit([wide, narrow, twice])
        for each in (wide, narrow, twice):
            ledger.fire([each.id])
        ledger.release([wide.id], "end")
        assert (reach(n1, at2, "udp"), reach(n3, at2, "udp")) == ("blocked", "open")
        ledger.release([narrow.id], "end")
        assert reach(n1, at2, "udp") == "blocked"
        ledger.release([twice.id], "end")
        assert reach(n1, at2, "udp") == "open"


def test_a_worker_s_links_can_be_fired_and_ended_one_by_one(lab: Lab, ledger: Ledger) -> None:
    n1, n2, n3 = (lab.nodes[name] for name in ("n1", "n2", "n3"))
    one = claim(want([n1.address]), 901)
    other = Claim("901/other", "nft", one.key, want([n3.address]), one.term)
    with Listener(n2) as at2:
        ledger.admit([one, other])
        seen = []
        for step in (lambda: ledger.fire([one.id]), lambda: ledger.fire([other.id]),
                     lambda: ledger.release([one.id], "end"), lambda: ledger.release([other.id], "end")):  # fmt: skip
            step()
            seen.append((reach(n1, at2, "udp"), reach(n3, at2, "udp")))
        assert seen == [("blocked", "open"), ("blocked", "blocked"), ("open", "blocked"), ("open", "open")]


def test_the_kernel_ends_it_when_nobody_else_does(lab: Lab, ledger: Ledger) -> None:
    n1, n2 = lab.nodes["n1"], lab.nodes["n2"]
    cut = claim(want([n1.address]), end_ns=boot_ns() + 300_000_000)
    with Listener(n2) as at2:
        ledger.admit([cut])
        ledger.fire([cut.id])
        wait_until(lambda: reach(n1, at2, "udp", timeout_s=0.1) == "open")
        assert boot_ns() > cut.term.end_ns
        wait_until(lambda: set(ledger.undone_elsewhere([cut.id])) == {cut.id})
        assert ledger.release([cut.id], "end").by == "kernel"


def test_a_claim_longer_than_the_kernel_can_count_is_armed_again(lab: Lab, ledger: Ledger) -> None:
    n1, n2 = lab.nodes["n1"], lab.nodes["n2"]
    cut = claim(want([n1.address]), end_ns=boot_ns() + 10**21)
    with Listener(n2) as at2, in_force(ledger, cut):
        ledger.rearm()
        assert ledger.undone_elsewhere([cut.id]) == {}
        assert reach(n1, at2, "udp") == "blocked"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"action": "reject"},
        {"connections": "new"},
        {"protocol": "tcp", "ports": ["80", "9092-9094"]},
        {"protocol": "udp", "connections": "new", "action": "reject"},
        {"protocol": "icmp"},
        {"hook": "out", "local": ["10.9.9.9", "fd00::9"]},
    ],
    ids=str,
)
def test_what_is_read_back_is_the_fold(ledger: Ledger, changes: dict[str, Any]) -> None:
    wants = [want(["10.7.0.0/16", "10.8.0.1", "fd00:7::/32"], **changes), want(["10.7.1.0/24", "10.8.0.0"], **changes)]
    claims = [claim(each) for each in wants]
    eyes = Cut(ledger.site.place, "n2")
    key = claims[0].key
    ledger.admit(claims)
    assert eyes.observe(key) is None
    for number in (1, 2):
        ledger.fire([claims[number - 1].id])
        assert eyes.observe(key) == Cut.fold(None, wants[:number])
    ledger.release([claims[0].id], "stop")
    assert eyes.observe(key) == Cut.fold(None, wants[1:])
    ledger.release([claims[1].id], "stop")
    assert eyes.observe(key) is None
    eyes.close()


def test_a_name_that_nftables_would_not_take_is_no_problem(lab: Lab, tmp_path: Path) -> None:
    place = Place.of_process(lab.nodes["n3"].pid)
    for name in ("kafka-1.example.com", "ä b", "x" * 300):
        resource = Cut(place, name)
        cut = claim(want(["10.7.0.0/16"]))
        resource.prepare([cut])
        assert resource.apply([cut], {cut.key: None}, boot_ns()) == {}
        assert resource.observe(cut.key) == ["10.7.0.0/16"]
        resource.close()
    eyes = Cut(place, "n3")
    wait_until(lambda: eyes.tables() == [])
    eyes.close()
