"""The tree of classes that a device's wants add up to, and the commands that make it: pure, on any machine."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trogdor.claim.model import CannotInject, Claim, Term
from trogdor.claim.place import Place
from trogdor.platform.linux import qdisc
from trogdor.platform.linux.qdisc import Qdisc, commands_for, port_masks, tree_of

LIMITED = Claim("1/0", "qdisc", "lo", {"match": None, "rateKbit": 5}, Term("t", 1, 0, 2**62))


def device(rate: int) -> dict[str, Any]:
    return {"match": None, "rateKbit": rate}


def link(to: str, rate: int, **match: Any) -> dict[str, Any]:
    return {"match": {"to": to, **match}, "rateKbit": rate}


@given(st.integers(1, 65535), st.integers(1, 65535))
def test_port_masks_cover_just_the_range(one: int, other: int) -> None:
    low, high = min(one, other), max(one, other)
    masks = list(port_masks(low, high))
    for port in {low, high, low - 1, high + 1, (low + high) // 2}:
        assert any(port & mask == value for value, mask in masks) == (low <= port <= high)
    assert sum(0x10000 - mask for _, mask in masks) == high - low + 1


def test_the_lowest_of_overlapping_rates_holds() -> None:
    wants = [device(1000), device(500), link("10.0.0.1/32", 300), link("10.0.0.1/32", 200)]
    assert Qdisc.fold("default", wants)["rates"] == {"7409:1": 500, "7409:fffe": 500, "7409:10": 200}


def test_a_link_is_never_faster_than_its_device() -> None:
    assert Qdisc.fold("default", [device(500), link("10.0.0.1/32", 9000)])["rates"]["7409:10"] == 500


def test_the_order_of_faults_does_not_matter() -> None:
    wants = [device(1000), link("10.0.0.0/24", 300), link("10.0.0.1/32", 200, protocol="tcp", ports=["80"])]
    assert tree_of(wants) == tree_of(wants[::-1])


def test_the_narrower_link_is_matched_first() -> None:
    tree = tree_of([link("10.0.0.0/24", 300), link("10.0.0.1/32", 200)])
    assert [entry["match"]["to"] for entry in tree["links"]] == ["10.0.0.1/32", "10.0.0.0/24"]


def test_when_the_last_want_goes_the_default_comes_back() -> None:
    assert Qdisc.fold("default", []) == "default"


def test_delays_of_one_device_stand_one_in_the_other() -> None:
    wants = [{"match": None, "netem": f"delay {delay}ms"} for delay in (50, 20)]
    assert [line for line in commands_for("eth0", tree_of(wants)) if "netem" in line] == [
        "qdisc replace dev eth0 parent 7409:fffe handle 7410: netem delay 20ms",
        "qdisc replace dev eth0 parent 7410:1 handle 7411: netem delay 50ms",
    ]
    assert Qdisc.fold("default", wants)["netem"] == 2


def test_the_commands_for_a_link_and_for_netem_are_these() -> None:
    wants = [{"match": None, "netem": "delay 50ms"}, link("10.0.0.1/32", 200, protocol="tcp", ports=["80-81"])]
    assert commands_for("eth0", tree_of(wants)) == [
        "qdisc replace dev eth0 root handle 7409: htb default fffe",
        "class replace dev eth0 parent 7409: classid 7409:1 htb rate 100000000kbit",
        "class replace dev eth0 parent 7409:1 classid 7409:fffe htb rate 100000000kbit",
        "qdisc replace dev eth0 parent 7409:fffe handle 7410: netem delay 50ms",
        "class replace dev eth0 parent 7409:1 classid 7409:10 htb rate 200kbit",
        "filter add dev eth0 parent 7409: protocol ip prio 100 u32 match ip dst 10.0.0.1/32 match ip protocol 6 0xff "
        "match ip dport 80 0xfffe flowid 7409:10",
    ]


def test_a_tc_that_hangs_is_an_error_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tc = tmp_path / "tc"
    tc.write_text("#!/bin/sh\nexec sleep 600\n")
    tc.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(qdisc, "COMMAND_S", 0.1)
    with pytest.raises(OSError, match="tc has not ended within"):
        Qdisc(Place.here(), "n1").apply([LIMITED], {"lo": "default"}, 0)


def test_a_missing_tc_is_said_before_anything_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CannotInject, match="tc is missing: install iproute2"):
        Qdisc(Place.here(), "n1").prepare([LIMITED])
