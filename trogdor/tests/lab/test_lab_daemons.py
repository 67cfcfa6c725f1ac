"""The lab's daemons, and the demonstration made with them."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from lab.waiting import python_path
from trogdor.lab import Lab, LabError
from trogdor.lab.daemons import TOPOLOGY_FILE, topology
from trogdor.lab.plan import COORDINATOR

pytestmark = pytest.mark.lab

NOOP = "org.apache.kafka.trogdor.task.NoOpTaskSpec"
PAUSE = "trogdor.fault.ProcessPauseFaultSpec"

WITHOUT_ROOT = ["unshare", "-U", "--map-user=1000", "--map-group=1000"]
"""Makes of us an ordinary user who can still read what we can, such as a virtual environment in root's home."""

UNPRIVILEGED = """
import json, os
from trogdor.lab import Lab, traces
from trogdor.lab.daemons import AGENT_PORT
assert os.geteuid() != 0
specs = {
    "cut": {"class": "NetworkPartitionFaultSpec", "partitions": [["n1"], ["n2"]]},
    "pause": {"class": "trogdor.fault.ProcessPauseFaultSpec", "nodeNames": ["n1"], "match": {"name": "sleep"}},
    "slow": {"class": "DegradedLinksFaultSpec", "links": [{"from": "n2", "to": "n3", "delayMs": 200}]},
}
with Lab(nodes=3) as lab:
    lab.start_daemons()
    lab.nodes["n1"].popen(["sleep", "1000"])
    with lab.client() as client:
        ahead = client.uptime()["nowMs"] + 5000  # "now" leaves the probe too little time on a machine that is busy
        for name, spec in specs.items():
            client.create_task(name, {**spec, "startMs": ahead, "durationMs": 3000})
        done = {name: client.wait_for_done(name, 120.0) for name in specs}
    print(json.dumps({
        "errors": {name: task.get("error", "") for name, task in done.items()},
        "verdicts": {
            name: [each["verdict"] for each in ([status] if "verdict" in status else status.values())]
            for name, status in ((name, task["status"]) for name, task in done.items())
        },
        "left": traces.unreachable(lab.nodes.values(), AGENT_PORT),
    }))
"""


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


def test_a_coordinator_runs_one_task_in_the_foreground() -> None:
    with Lab(nodes=1) as lab:
        lab.start_daemon("n1")
        lab.coordinator.path(TOPOLOGY_FILE).write_text(json.dumps(topology(lab)))
        command = [sys.executable, "-m", "trogdor", "coordinator", "-c", TOPOLOGY_FILE, "-n", COORDINATOR, "--exec"]
        env = {**os.environ, "PYTHONPATH": python_path()}
        ran = lab.coordinator.exec([*command, json.dumps({"class": NOOP, "durationMs": 50})], env=env, timeout=120)
        assert ran.returncode == 0, ran.stderr
        task = json.loads(ran.stdout[ran.stdout.index("{") :])
        assert (task["state"], task["status"]) == ("DONE", "done")
        unfit = {"class": PAUSE, "nodeNames": ["n1"], "match": {"pattern": "("}, "durationMs": 50}
        ran = lab.coordinator.exec([*command, json.dumps(unfit)], env=env, timeout=120)
        assert ran.returncode == 1, ran.stderr
        assert "cannot look for the process" in json.loads(ran.stdout[ran.stdout.index("{") :])["error"]


@pytest.fixture
def home() -> Iterator[str]:
    """A directory with a short path, as sockets need."""
    with tempfile.TemporaryDirectory(prefix="trogdor-") as path:
        yield path


def test_agents_without_root_cut_pause_and_delay(home: str) -> None:
    ran = subprocess.run(
        [*WITHOUT_ROOT, sys.executable, "-c", UNPRIVILEGED],
        env={**os.environ, "PYTHONPATH": python_path(), "HOME": home, "XDG_RUNTIME_DIR": home},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["errors"] == {"cut": "", "pause": "", "slow": ""}
    assert said["left"] == []
    assert not said["verdicts"].pop("slow")[0].startswith("not seen")
    assert said["verdicts"] == {"cut": ["seen", "seen"], "pause": ["seen"]}


@pytest.mark.parametrize("drop_root", [[], WITHOUT_ROOT], ids=["as we are", "without root"])
def test_the_demonstration_cuts_off_the_leader_and_leaves_nothing(home: str, drop_root: list[str]) -> None:
    own = {"HOME": home, "XDG_RUNTIME_DIR": home} if drop_root else {}
    done = subprocess.run(
        [*drop_root, sys.executable, "-m", "trogdor", "demo", "--json"],
        env={**os.environ, "PYTHONPATH": python_path(), **own},
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
