"""What the packet queue's reader decides, from headers and rules alone."""

import ipaddress
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trogdor.platform.linux.netqueue import COPY_MARK, Fate, Flow, Rule, damage, flow_of
from trogdor.platform.linux.queue import rules_for

FAR = 2**62


def rule(**fields: Any) -> Rule:
    return Rule.from_json({"untilNs": FAR, **fields})


def ipv4(source: str, protocol: int, port: int, fragment: int = 0) -> bytes:
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 40, 0, fragment, 64, protocol, 0,
        ipaddress.ip_address(source).packed, ipaddress.ip_address("10.0.0.9").packed,
    )  # fmt: skip
    return header + struct.pack(">HH", 1234, port) + bytes(16)


def test_addresses_and_ports_are_read_from_ipv4_headers() -> None:
    assert flow_of(ipv4("10.0.0.1", 6, 80)) == Flow(4, int(ipaddress.ip_address("10.0.0.1")), 6, 80)


def test_a_later_fragment_has_no_port() -> None:
    assert flow_of(ipv4("10.0.0.1", 17, 80, fragment=5)) == Flow(4, int(ipaddress.ip_address("10.0.0.1")), 17, 0)


def test_ports_are_found_behind_ipv6_extension_headers() -> None:
    source = ipaddress.ip_address("fd00::1")
    header = struct.pack(">IHBB16s16s", 6 << 28, 24, 0, 64, source.packed, source.packed)
    hop_by_hop = bytes([6, 0, 0, 0, 0, 0, 0, 0])
    packet = header + hop_by_hop + struct.pack(">HH", 1234, 443) + bytes(16)
    assert flow_of(packet) == Flow(6, int(source), 6, 443)


@given(st.binary(max_size=96))
def test_no_packet_however_odd_stops_the_reader(packet: bytes) -> None:
    flow_of(packet)


def test_only_packets_that_a_rule_names_are_held_back() -> None:
    fate = Fate([rule(sources=["10.0.0.1"], protocol="tcp", ports=["80-90"], delayMs=20)])
    held = [fate.of(flow_of(packet), 0)[1] for packet in (
        ipv4("10.0.0.1", 6, 85), ipv4("10.0.0.1", 6, 91), ipv4("10.0.0.1", 17, 85), ipv4("10.0.0.2", 6, 85),
    )]  # fmt: skip
    assert held == [20.0, 0.0, 0.0, 0.0]


def test_so_many_packets_arrive_twice_and_a_copy_is_not_queued_again() -> None:
    fate, flow = Fate([rule(duplicatePercent=10)]), flow_of(ipv4("10.0.0.1", 17, 80))
    twice = sum(fate.of(flow, 0).twice for _ in range(10_000))
    assert 850 < twice < 1150
    want = {"sources": ["10.0.0.1"], "duplicatePercent": 10, "exempt": [["10.0.0.5", 8888]]}
    first, *others = rules_for([want], 4)
    assert first == f"-m mark --mark {COPY_MARK:#x} -j RETURN"
    assert not any("mark" in other for other in others + rules_for([{"sources": []}], 4))


def test_delays_of_overlapping_rules_add_up_and_end_each_at_its_own_time() -> None:
    rules = [rule(delayMs=20), Rule.from_json({"delayMs": 5, "untilNs": 100})]
    fate, flow = Fate(rules), flow_of(ipv4("10.0.0.1", 6, 80))
    assert [fate.of(flow, now)[1] for now in (99, 100)] == [25.0, 20.0]


def lost_of(fate: Fate, packets: int) -> list[bool]:
    flow = flow_of(ipv4("10.0.0.1", 17, 80))
    return [fate.of(flow, 0)[0] for _ in range(packets)]


def test_loss_is_as_asked_alone_and_in_bursts_and_the_same_for_the_same_seed() -> None:
    for burst in (1, 8):
        lost = lost_of(Fate([rule(lossPercent=5, burst=burst, seed=7)]), 40_000)
        runs = sum(1 for before, now in zip([False, *lost], lost, strict=False) if now and not before)
        assert abs(sum(lost) / len(lost) - 0.05) < 0.01
        assert abs(sum(lost) / runs - burst) < 0.15 * burst + 0.1
        assert lost == lost_of(Fate([rule(lossPercent=5, burst=burst, seed=7)]), 40_000)


def test_a_rule_goes_on_where_it_was_when_others_come_and_go() -> None:
    one, other = rule(lossPercent=30, burst=4, seed=7), rule(delayMs=5)
    whole = lost_of(Fate([one]), 1000)
    first = Fate([one])
    begun = lost_of(first, 500)
    assert begun + lost_of(Fate([one, other], first), 500) == whole


def test_everything_or_nothing_is_lost_when_asked() -> None:
    assert all(lost_of(Fate([rule(lossPercent=100)]), 100))
    assert not any(lost_of(Fate([rule(lossPercent=0)]), 100))


@given(st.binary(min_size=41, max_size=200), st.integers(0, 1000))
def test_damage_flips_one_bit_behind_the_headers(packet: bytes, seed: int) -> None:
    changed = damage(packet, seed)
    flipped = [(a ^ b).bit_count() for a, b in zip(packet, changed, strict=True)]
    assert sum(flipped) == 1
    assert sum(flipped[:40]) == 0
