"""``trogdor plan``: without a daemon from a configuration file, or through a coordinator."""

import json
from pathlib import Path
from typing import Any

import pytest

from unit.cli.support import Daemon, Run

NODES = {f"n{at}": {"hostname": f"192.0.2.{at}", "trogdor.agent.port": "8888"} for at in range(1, 4)}
PARTITION = '{"class": "NetworkPartitionFaultSpec", "partitions": [["n1"], ["n2", "n3"]]}'
CLAIM = {"kind": "process", "key": "17@4711", "want": "stopped", "undoneBy": ["warden", "replay"], "how": "by SIGCONT"}


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "trogdor.json"
    path.write_text(json.dumps({"nodes": NODES}))
    return str(path)


def test_from_a_file(run: Run, config: str) -> None:
    done = run("plan", PARTITION, "-c", config)
    assert done.code == 0, done.err
    assert [line for line in done.out.splitlines() if line and line[0] != " "] == ["n1", "n2", "n3"]
    assert '"addresses": ["192.0.2.2/32"]' in done.out
    assert "nft is undone by kernel, warden, replay" in done.out
    assert "probe  no packets from n1 arrive at n3" in done.out
    plans = json.loads(run("plan", PARTITION, "-c", config, "--json").out)
    assert plans["n1"]["targets"] == ["n2 → n1", "n3 → n1"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ('{"class": "NetworkPartitionFaultSpec", "partitions": [["n1"], ["n9"]]}', "Unknown node names: n9"),
        ('{"class": "CutLinksFaultSpec", "links": [], "x": 1}', "x: "),
        ('{"class": "Nope"}', "spec list"),
    ],
)
def test_a_bad_spec_is_exit_2(run: Run, config: str, spec: str, says: str) -> None:
    done = run("plan", spec, "-c", config)
    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err


def test_a_bad_file_is_exit_2(run: Run, tmp_path: Path) -> None:
    assert run("plan", PARTITION, "-c", str(tmp_path / "none.json")).code == 2
    (tmp_path / "bad.json").write_text('{"nodes": {"n1": 3, "n2": {"hostname": 4}}}')
    done = run("plan", PARTITION, "-c", str(tmp_path / "bad.json"))
    assert done.code == 2
    assert "nodes.n1" in done.err
    assert "nodes.n2.hostname" in done.err


def planned(daemon: Daemon, **plan: Any) -> None:
    shown = {"claims": [CLAIM], "targets": [], "probe": [], "unverified": "", "lacks": {}, "problem": "", **plan}
    daemon.answers["POST /coordinator/task/plan"] = (200, {"problems": [], "nodes": ["n1"], "plans": {"n1": shown}})


def test_through_a_coordinator(run: Run, daemon: Daemon) -> None:
    planned(daemon, probe=["process 17 is stopped"], lacks={"nft": "install it"})
    done = run("plan", PARTITION, "-t", daemon.target)
    assert done.code == 0
    assert done.out.splitlines() == [
        "n1",
        "  lacks nft: install it",
        "  claims process 17@4711",
        '    wants  "stopped"',
        "  process is undone by warden, replay: by SIGCONT",
        "  probe  process 17 is stopped",
    ]
    assert [line for line, _ in daemon.requests] == ["POST /coordinator/task/plan"], "nothing else was asked"


def test_a_node_that_cannot_is_exit_6(run: Run, daemon: Daemon) -> None:
    planned(daemon, claims=[], problem="20 processes match")
    done = run("plan", PARTITION, "-t", daemon.target)
    assert done.code == 6
    assert "cannot: 20 processes match" in done.out
