"""``trogdor report`` and ``watch`` against a coordinator."""

from pathlib import Path
from typing import Any

import pytest

from unit.cli.support import Daemon, Run

FAULT = {"text": "", "verdict": "seen", "askedStartMs": 9000.0, "seenStartMs": 9001.0, "askedEndMs": 9500.0,
         "seenEndMs": 9501.0, "undoneBy": "end", "via": ["nft"], "targets": []}  # fmt: skip
SPEC = {"class": "trogdor.fault.ProcessPauseFaultSpec", "startMs": 9000, "durationMs": 500, "nodeNames": ["n1"],
        "match": {"name": "etcd"}}  # fmt: skip
TASK = {"state": "DONE", "spec": SPEC, "startedMs": 9000, "doneMs": 9502, "cancelled": False, "status": FAULT}
MARK = {"seq": 1, "atMs": 9100, "type": "mark", "source": "user", "text": "deploy 42"}


@pytest.fixture
def coordinator(daemon: Daemon) -> Daemon:
    tasks: Any = (200, {"tasks": {"p1": TASK}})
    daemon.answers |= {
        "GET /coordinator/tasks": tasks,
        "GET /coordinator/tasks?taskId=p1": tasks,
        "GET /coordinator/tasks?taskId=nope": (200, {}),
        "GET /coordinator/tasks?lastStartMs=28000": tasks,
        "GET /coordinator/nodes": (200, {"nodes": {"n1": {"up": True, "offsetMs": 0.4, "uncertaintyMs": 0.1}}}),
        "GET /coordinator/uptime": (200, {"serverStartMs": 1, "nowMs": 10_000}),
        "GET /coordinator/events?after=0": (200, {"events": [MARK]}),
        "GET /coordinator/events?after=1": (200, {"events": []}),
    }
    return daemon


def test_a_report_is_written_and_its_path_printed(run: Run, coordinator: Daemon, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    result = run("report", "p1", "-o", str(out), "-t", coordinator.target)
    assert (result.code, result.out.strip()) == (0, str(out))
    assert "ProcessPause" in out.read_text()
    assert "deploy 42" in out.read_text()


def test_a_report_on_no_such_task_is_refused(run: Run, coordinator: Daemon, tmp_path: Path) -> None:
    result = run("report", "nope", "-o", str(tmp_path / "r.html"), "-t", coordinator.target)
    assert (result.code, "no such task: nope" in result.err) == (2, True)
    assert not (tmp_path / "r.html").exists()


def test_watch_shows_nodes_faults_and_events(run: Run, coordinator: Daemon) -> None:
    result = run("watch", "--once", "-t", coordinator.target)
    assert result.code == 0
    assert "█" in result.out
    assert "deploy 42" in result.out
    assert "+0.4 ms" in result.out
