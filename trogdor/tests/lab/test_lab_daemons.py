"""The lab's daemons, and the demonstration made with them."""

import json
import os
import subprocess
import sys

import pytest

from lab.waiting import python_path
from trogdor.lab import Lab, LabError

pytestmark = pytest.mark.lab


def test_daemons_answer_from_outside_and_end_by_themselves() -> None:
    with Lab(nodes=2) as lab:
        started = lab.start_daemons()
        assert list(started) == ["n1", "n2", "coordinator"]
        assert set(lab.client().nodes()) == {"n1", "n2"}
        lab.client().create_task("nothing", {"class": "NoOpTaskSpec", "durationMs": 2000})
        assert lab.client().wait_for_done("nothing", deadline_s=60).get("error") in (None, "")
        assert "serverStartMs" in lab.agent_client("n2").status()
        for process in started.values():
            process.terminate()
        assert [process.wait(60) for process in started.values()] == [0, 0, 0]
        assert [node.processes() for node in lab.nodes.values()] == [[], []]
        again = lab.start_daemon("n1")
        assert "serverStartMs" in lab.agent_client("n1").status()
        assert again.poll() is None


def test_a_daemon_that_cannot_start_is_told_with_its_log() -> None:
    with Lab(nodes=1) as lab, lab.nodes["n1"].socket() as taken:
        taken.bind(("127.0.0.1", 8888))
        taken.listen()
        with pytest.raises(LabError, match=r"(?s)the agent on n1 .*8888"):
            lab.start_daemons()


def test_the_demonstration_cuts_off_the_leader_and_leaves_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trogdor", "demo", "--json"],
        env={**os.environ, "PYTHONPATH": python_path()},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    report = json.loads(done.stdout)
    assert report["problems"] == report["missing"] == []
    assert report["new_leader"] not in (None, report["leader"])
    assert report["acknowledged"] > 0
    verdicts = {node: status["verdict"].partition(":")[0] for node, status in report["nodes"].items()}
    assert sorted(verdicts) == ["n1", "n2", "n3"]
    assert verdicts[report["leader"]] == "seen", report["nodes"]
