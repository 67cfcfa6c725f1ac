"""The verbs that build specs: what they ask for, and what they refuse."""

import json
from typing import Any

import pytest

from trogdor.cli import target
from trogdor.spec import parse
from unit.cli.support import Daemon, Run

NODES = {"nodes": {name: {"kind": "own", "up": True} for name in ("n1", "n2", "n3", "n4", "n5")}}


def printed(run: Run, *args: str) -> dict[str, Any]:
    done = run(*args, "--print")
    assert done.code == 0, done.err
    spec: dict[str, Any] = json.loads(done.out)
    parse(spec)
    return spec


def test_a_plain_partition_is_upstreams(run: Run) -> None:
    assert printed(run, "partition", "n1", "/", "n2", "n3", "--for", "30s") == {
        "class": "org.apache.kafka.trogdor.fault.NetworkPartitionFaultSpec",
        "startMs": 0,
        "durationMs": 30_000,
        "partitions": [["n1"], ["n2", "n3"]],
    }


def test_one_way_is_links_of_our_own(run: Run) -> None:
    spec = printed(run, "partition", "n1", "/", "n2", "n3", "--one-way", "--for", "1m")
    assert spec["class"] == "trogdor.fault.CutLinksFaultSpec"
    assert spec["links"] == [{"from": "n1", "to": "n2"}, {"from": "n1", "to": "n3"}]


def test_terms_of_links(run: Run) -> None:
    spec = printed(
        run, "partition", "n1", "/", "n2", "--ports", "2379,9092-9094", "--new-only", "--reject", "--for", "1s"
    )
    terms = {"ports": ["2379", "9092-9094"], "protocol": "tcp", "connections": "new", "action": "reject"}
    assert spec["links"] == [{"from": "n2", "to": "n1", **terms}, {"from": "n1", "to": "n2", **terms}]
    udp = printed(run, "partition", "n1", "/", "n2", "--ports", "53", "--protocol", "udp", "--for", "1s")
    assert udp["links"][0]["protocol"] == "udp"
    cut = printed(run, "partition", "n1", "/", "n2", "--cut-control", "--for", "1s")
    assert cut["controlTraffic"] == "cut"


@pytest.mark.parametrize("end", ["10.0.0.0/8", "10.1.2.3", "::1", "db.example.com", "!n3"])
def test_ends_that_are_no_nodes(run: Run, end: str) -> None:
    spec = printed(run, "partition", "n1", "/", end, "--for", "1s")
    assert spec["links"] == [{"from": end, "to": "n1"}, {"from": "n1", "to": end}]


def test_shapes_of_all_nodes(run: Run, daemon: Daemon) -> None:
    daemon.answers["GET /coordinator/nodes"] = (200, NODES)
    at = ("-t", daemon.target, "--for", "1s")
    assert printed(run, "partition", "--isolate", "n2", *at)["partitions"] == [["n2"], ["n1", "n3", "n4", "n5"]]

    def cut(shape: str, *nodes: str) -> set[str]:
        links = printed(run, "partition", "--shape", shape, *nodes, *at)["links"]
        return {f"{link['from']}{link['to']}" for link in links}

    both_ways = {"n1n3", "n3n1", "n2n3", "n3n2"}
    assert cut("halves", "n3", "n1", "n2") == both_ways
    assert cut("bridge", "n1", "n4", "n2") == {"n1n2", "n2n1"}
    assert len(cut("halves")) == 2 * 2 * 3
    assert "n1n3" in cut("ring")
    assert "n1n2" not in cut("ring")


def test_a_pause_of_whoever_has_a_role(run: Run) -> None:
    spec = printed(run, "pause", "leader", "--resolve", "kafka", "--option", "topic=orders", "--for", "5s")
    assert (spec["resolve"], spec["role"], spec["options"]) == ("kafka", "leader", {"topic": "orders"})
    assert spec["spec"] == {
        "class": "trogdor.fault.ProcessPauseFaultSpec", "nodeNames": "$nodes", "match": {"javaMain": "kafka.Kafka"},
    }  # fmt: skip
    assert printed(run, "pause", "leader", "--resolve", "etcd")["spec"]["match"] == {"name": "etcd"}
    unknown = run("pause", "leader", "--resolve", "etc")
    assert unknown.code == 2
    assert "--resolve etc: what runs there is known of etcd, kafka, postgresql only; say which" in unknown.err


def test_a_kill_and_who_starts_it_again(run: Run) -> None:
    killed = printed(run, "kill", "n1", "--name", "etcd", "--signal", "sigterm", "--for", "10s")
    assert (killed["class"], killed["signal"]) == ("trogdor.fault.ProcessKillFaultSpec", "TERM")
    assert printed(run, "kill", "n1", "--name", "etcd", "--no-restart")["restart"] == "none"
    again = printed(run, "kill", "n1", "--name", "etcd", "--restart-with", "systemctl start 'my etcd'")
    assert again["restartCommand"] == ["systemctl", "start", "my etcd"]
    leader = printed(run, "kill", "leader", "--resolve", "kafka", "--option", "topic=orders", "--for", "5s")
    assert leader["spec"]["match"] == {"javaMain": "kafka.Kafka"}


def test_a_pause_by_every_kind_of_match(run: Run) -> None:
    spec = printed(
        run, "pause", "n1", "n2", "--name", "etcd", "--pattern", "x.*", "--pid-file", "/p", "--user", "u",
        "--java", "kafka.Kafka", "--tree", "--max-processes", "3", "--for", "500ms",
    )  # fmt: skip
    assert spec == {
        "class": "trogdor.fault.ProcessPauseFaultSpec",
        "startMs": 0,
        "durationMs": 500,
        "nodeNames": ["n1", "n2"],
        "match": {"name": "etcd", "pattern": "x.*", "pidFile": "/p", "user": "u", "javaMain": "kafka.Kafka"},
        "tree": True,
        "maxProcesses": 3,
    }


def test_without_a_duration_ten_minutes_are_sent(run: Run) -> None:
    assert printed(run, "pause", "n1", "--name", "etcd")["durationMs"] == 600_000
    assert printed(run, "run", '{"class": "NoOpTaskSpec"}')["durationMs"] == 600_000
    assert printed(run, "run", '{"class": "NoOpTaskSpec", "durationMs": 7}')["durationMs"] == 7
    assert printed(run, "run", '{"class": "NoOpTaskSpec", "durationMs": 7}', "--for", "1s")["durationMs"] == 1000


def test_at_and_in(run: Run, daemon: Daemon) -> None:
    daemon.answers["GET /coordinator/uptime"] = (200, {"serverStartMs": 1, "nowMs": 5_000_000})
    noop = '{"class": "NoOpTaskSpec"}'
    assert printed(run, "run", noop, "--in", "5s", "-t", daemon.target)["startMs"] == 5_005_000
    assert printed(run, "run", noop, "--at", "1970-01-01T00:00:09+00:00")["startMs"] == 9000


@pytest.mark.parametrize(
    "args",
    [
        ["partition"],
        ["partition", "n1", "n2"],
        ["partition", "n1", "/"],
        ["partition", "n1/n2"],
        ["partition", "n1", "/", "n1"],
        ["partition", "n1", "/", "n2", "--isolate", "n3"],
        ["partition", "n1", "/", "n2", "/", "n3", "--one-way"],
        ["partition", "n1", "/", "n2", "--for", "5"],
        ["partition", "n1", "/", "n2", "--for", "5s", "--in", "1s", "--at", "12:00"],
        ["partition", "n1", "/", "n2", "--detach"],
        ["partition", "n1", "/", "n2", "-t", "nonsense"],
        ["partition", "--shape", "ring", "n1", "n2"],
        ["partition", "--shape", "halves", "n1", "/", "n2"],
        ["partition", "n1", "/", "a..b"],
        ["pause", "n1"],
        ["kill", "n1", "--name", "etcd", "--signal", "NONE"],
        ["kill", "n1", "--name", "etcd", "--no-restart", "--restart-with", "true"],
        ["pause", "--name", "etcd"],
        ["run", "{bad"],
        ["run", "/no/such/file"],
        ["run", "{}"],
        ["run", "[]"],
        ["stop"],
        ["stop", "x", "--all"],
    ],
    ids=" ".join,
)
def test_bad_usage_is_exit_2_and_says_why(run: Run, args: list[str]) -> None:
    done = run(*args)
    assert done.code == 2
    assert len(done.err) > 20
    assert "Traceback" not in done.err


def test_nobody_there_is_exit_5_in_one_line(run: Run) -> None:
    for args in (["ls"], ["pause", "n1", "--name", "etcd"], ["stop", "--all"], ["freeze"], ["nodes"], ["mark", "x"]):
        done = run(*args, "-t", "127.0.0.1:1")
        assert done.code == 5
        assert "127.0.0.1:1" in done.err
        assert len(done.err.splitlines()) == 1


def test_the_target_is_the_variable_else_the_one_lab(run: Run, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.answers["GET /coordinator/nodes"] = (200, NODES)
    monkeypatch.setattr(target, "running_labs", dict)
    none = run("nodes")
    assert none.code == 2
    assert "trogdor lab up" in none.err
    monkeypatch.setattr(target, "running_labs", lambda: {"lab1": daemon.target})
    assert run("nodes").code == 0
    monkeypatch.setattr(target, "running_labs", lambda: {"lab1": "unix:/a", "lab2": "unix:/b"})
    several = run("nodes")
    assert several.code == 2
    assert "lab1, lab2" in several.err
    monkeypatch.setenv("TROGDOR", daemon.target)
    assert run("nodes").code == 0
