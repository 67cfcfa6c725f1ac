"""``trogdor slow``: the links it asks for, and what it refuses."""

import json
from typing import Any

import pytest

from trogdor.spec import parse
from unit.cli.support import Daemon, Run

NODES = {"nodes": {name: {"kind": "own", "up": True} for name in ("n1", "n2", "n3")}}


def printed(run: Run, *args: str) -> dict[str, Any]:
    done = run("slow", *args, "--for", "1s", "--print")
    assert done.code == 0, done.err
    spec: dict[str, Any] = json.loads(done.out)
    parse(spec)
    return spec


def ends(spec: dict[str, Any]) -> set[str]:
    return {f"{link['from']} {link['to']}" for link in spec["links"]}


def test_two_nodes_both_ways(run: Run) -> None:
    assert printed(run, "n1", "n2", "--delay", "100ms", "--jitter", "0.5ms", "--normal") == {
        "class": "trogdor.fault.DegradedLinksFaultSpec",
        "startMs": 0,
        "durationMs": 1000,
        "links": [
            {"from": source, "to": to, "delayMs": 100, "jitterMs": 0.5, "distribution": "normal"}
            for source, to in (("n2", "n1"), ("n1", "n2"))
        ],
    }


def test_everything_that_can_be_done_to_packets(run: Run) -> None:
    spec = printed(
        run, "n1", "n2", "--one-way", "--delay", "1s", "--loss", "5%", "--burst", "8", "--corrupt", "1%",
        "--reorder", "0.5%", "--rate", "1.5mbit", "--ports", "9092,9000-9010", "--seed", "7",
    )  # fmt: skip
    assert spec["seed"] == 7
    assert spec["links"] == [
        {
            "from": "n1", "to": "n2", "delayMs": 1000, "lossPercent": 5, "burst": 8, "corruptPercent": 1,
            "reorderPercent": 0.5, "rateKbit": 1500, "ports": ["9092", "9000-9010"], "protocol": "tcp",
        }
    ]  # fmt: skip
    assert printed(run, "n1", "n2", "--loss", "1%", "--protocol", "udp")["links"][0]["protocol"] == "udp"


def test_which_links(run: Run, daemon: Daemon) -> None:
    delay = ("--delay", "5ms")
    groups = {"n1 n2", "n2 n1", "n1 n3", "n3 n1"}
    assert ends(printed(run, "n1", "/", "n2", "n3", *delay)) == groups
    assert ends(printed(run, "n1", "--to", "n2,n3", *delay)) == groups
    assert ends(printed(run, "n1", "n2", "n3", *delay)) == groups | {"n2 n3", "n3 n2"}
    assert ends(printed(run, "n1", "n2", "/", "n3", "--one-way", *delay)) == {"n1 n3", "n2 n3"}
    daemon.answers["GET /coordinator/nodes"] = (200, NODES)
    assert ends(printed(run, "n1", *delay, "-t", daemon.target)) == groups


def test_ends_without_an_agent(run: Run) -> None:
    assert ends(printed(run, "10.0.0.0/8", "/", "n1", "--one-way", "--delay", "5ms")) == {"10.0.0.0/8 n1"}
    assert ends(printed(run, "n1", "/", "::1", "--one-way", "--rate", "1gbit")) == {"n1 ::1"}
    delayed = run("slow", "n1", "/", "10.0.0.5", "--delay", "5ms")
    limited = run("slow", "n1", "/", "10.0.0.5", "--rate", "1mbit")
    assert (delayed.code, limited.code) == (2, 2)
    assert "trogdor slow 10.0.0.5 / n1 --one-way" in delayed.err
    assert "trogdor slow n1 / 10.0.0.5 --one-way" in limited.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["n1", "n2"], "--delay 100ms"),
        (["n1", "n2", "--delay", "0ms"], "--delay 100ms"),
        (["--delay", "1s"], "Missing argument"),
        (["n1", "n2", "--delay", "5"], "--delay: '5' is no duration"),
        (["n1", "n2", "--delay", "90s"], "--delay: "),
        (["n1", "n2", "--loss", "5"], "--loss: '5' is no share: write 5%"),
        (["n1", "n2", "--loss", "101%"], "--loss: "),
        (["n1", "n2", "--loss", "x", "--rate", "1mb"], "\n  --rate: '1mb' is no rate: write 500kbit"),
        (["n1", "n2", "--rate", "0kbit"], "--rate: "),
        (["n1", "n2", "--delay", "1s", "--burst", "8"], "--burst needs --loss"),
        (["n1", "n2", "--loss", "1%", "--normal", "--reorder", "1%"], "--normal needs --jitter; --reorder needs --d"),
        (["n1", "n2", "--loss", "1%", "--burst", "0.5"], "--burst: "),
        (["n1", "n2", "--loss", "1%", "--burst", "0.5", "--ports", "99999"], "--ports: '99999' is no port"),
        (["n1", "n2", "--loss", "1%", "--ports", "1", "--protocol", "icmp"], "--ports: icmp has none"),
        (["n1", "/", "!n2", "--delay", "1s"], "name the ends"),
        (["n1", "/", "--delay", "1s"], "an end is missing"),
        (["n1", "n1", "--delay", "1s"], "n1: named more than once"),
        (["n1", "a..b", "--delay", "1s"], "'a..b' is no node"),
        (["n1", "/", "n2", "--to", "n3", "--delay", "1s"], "--to and /"),
        (["n1", "n2", "n3", "--one-way", "--delay", "1s"], "--one-way"),
        (["n1", "n2", "--delay", "1s", "--detach"], "--detach needs --for"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_exit_2_and_says_what_is_wanted(run: Run, args: list[str], said: str) -> None:
    done = run("slow", *args)
    assert done.code == 2
    assert said in done.err
    assert "should have at least" not in done.err
