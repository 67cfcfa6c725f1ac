"""The command line against real daemons: what it does to the nodes, and how each command ends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import trogdor
from lab.seeing import Listener, Sight, reach
from lab.waiting import state_of, wait_until
from trogdor.lab import Lab, NodeProcess

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("cli")]

COMMAND_S = 120
SOURCE = str(Path(trogdor.__file__).parents[1])


@dataclass(frozen=True)
class Cluster:
    """A lab with daemons, and the command line pointed at it."""

    lab: Lab
    processes: dict[str, NodeProcess]

    def start(self, *args: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "trogdor", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": SOURCE, "TROGDOR": self.lab.target},
        )

    def run(self, *args: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(*args)
        out, err = process.communicate(timeout=COMMAND_S)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def tasks(self) -> dict[str, Any]:
        return self.lab.client().tasks()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Lab(nodes=3) as lab:
        yield Cluster(lab, lab.start_daemons())


@pytest.fixture(autouse=True)
def healed(cluster: Cluster) -> Iterator[None]:
    """Nothing is in force after a test, whatever became of it."""
    yield
    cluster.lab.client().heal()


@pytest.fixture
def listener(cluster: Cluster) -> Iterator[Listener]:
    with Listener(cluster.lab.nodes["n2"]) as listening:
        yield listening


def seen(cluster: Cluster, listener: Listener) -> Sight:
    return reach(cluster.lab.nodes["n1"], listener, timeout_s=0.3)


@pytest.fixture
def sleeper(cluster: Cluster) -> Iterator[NodeProcess]:
    process = cluster.lab.nodes["n1"].popen(["sleep", "4711"])
    yield process
    process.kill()
    process.wait(30)
    process.close()


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=COMMAND_S)
    return process.returncode, out, err


def test_a_partition_takes_and_heals(cluster: Cluster, listener: Listener) -> None:
    done = cluster.run("partition", "n1", "/", "n2", "n3", "--for", "1s")
    assert done.returncode == 0, done.stderr
    lines = [line.split()[:2] for line in done.stdout.splitlines() if line.startswith("  n")]
    for node in ("n1", "n2", "n3"):  # on a busy machine a probe may have seen too little of the links to tell
        assert [node, "healed"] in lines or [node, "unverified:"] in lines, done.stdout
    assert seen(cluster, listener) == "open"
    assert cluster.run("faults").stdout == "no faults\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interruption_heals_and_waits(cluster: Cluster, listener: Listener, number: signal.Signals) -> None:
    process = cluster.start("partition", "n1", "/", "n2")
    wait_until(lambda: seen(cluster, listener) == "blocked")
    process.send_signal(number)
    code, out, err = ended(process)
    assert code == 130, err
    assert seen(cluster, listener) == "open"
    assert "interrupted; healed" in out


def test_a_killed_client_leaves_nothing(cluster: Cluster, listener: Listener) -> None:
    process = cluster.start("partition", "n1", "/", "n2", "--id", "orphan")
    wait_until(lambda: seen(cluster, listener) == "blocked")
    process.kill()
    ended(process)
    wait_until(lambda: seen(cluster, listener) == "open")
    wait_until(lambda: cluster.tasks()["orphan"]["state"] == "DONE")
    assert cluster.tasks()["orphan"]["cancelled"]


def test_detached_it_is_in_force_when_the_command_returns(cluster: Cluster, listener: Listener) -> None:
    done = cluster.run("partition", "n1", "/", "n2", "--for", "10m", "--detach", "--id", "detached")
    assert done.returncode == 0, done.stderr
    assert seen(cluster, listener) == "blocked"
    faults = json.loads(cluster.run("faults", "--json").stdout)["faults"]
    assert [(fault["node"], fault["taskId"]) for fault in faults] == [("n1", "detached"), ("n2", "detached")]
    agent = str(cluster.lab.agent_client("n1").target)
    assert ["n1", "detached", "NetworkPartitionFault"] in [
        line.split()[:3] for line in cluster.run("faults", "--agent", agent).stdout.splitlines()
    ]
    stopped = cluster.run("stop", "detached")
    assert stopped.returncode == 0, stopped.stderr
    assert seen(cluster, listener) == "open"


def test_heal_ends_everything(cluster: Cluster, listener: Listener) -> None:
    for name in ("one", "two"):
        assert cluster.run("partition", "n1", "/", "n2", "--for", "10m", "--detach", "--id", name).returncode == 0
    done = cluster.run("heal")
    assert (done.returncode, done.stdout) == (0, "healed: one two\n"), done.stderr
    assert seen(cluster, listener) == "open"
    assert cluster.run("heal").stdout == "nothing was in force\n"


def test_plan_changes_nothing(cluster: Cluster, listener: Listener) -> None:
    before = cluster.tasks()
    spec = '{"class": "NetworkPartitionFaultSpec", "partitions": [["n1"], ["n2"]]}'
    done = cluster.run("plan", spec)
    assert done.returncode == 0, done.stderr
    assert cluster.lab.nodes["n2"].address in done.stdout
    assert "probe  no packets from n1 arrive at n2" in done.stdout
    assert seen(cluster, listener) == "open"
    assert cluster.tasks() == before


def test_a_bad_spec_is_exit_2_and_nothing_is_created(cluster: Cluster) -> None:
    before = cluster.tasks()
    done = cluster.run("run", '{"class": "CutLinksFaultSpec", "links": [{"from": "a..b", "to": "n1"}], "x": 1}')
    assert done.returncode == 2
    assert "spec.links[0].from" in done.stderr
    assert "spec.x" in done.stderr
    done = cluster.run("partition", "n1", "/", "n22")
    assert done.returncode == 2
    assert "for n22, did you mean n2" in done.stderr
    assert cluster.tasks() == before


def test_a_pause_stops_the_process_and_lets_it_go_on(cluster: Cluster, sleeper: NodeProcess) -> None:
    node = cluster.lab.nodes["n1"]
    process = cluster.start("pause", "n1", "--pattern", "sleep 4711")
    wait_until(lambda: state_of(node, sleeper) == "T")
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 130
    assert state_of(node, sleeper) == "S"


def test_a_pause_that_matches_nothing_is_exit_3_and_nothing_is_created(cluster: Cluster) -> None:
    before = cluster.tasks()
    done = cluster.run("pause", "n1", "--name", "no-such-program", "--for", "1s")
    assert done.returncode == 3
    assert "node n1: no process matched" in done.stderr
    assert cluster.tasks() == before


def test_a_fault_that_does_not_hold_is_exit_3(cluster: Cluster, sleeper: NodeProcess) -> None:
    node = cluster.lab.nodes["n1"]
    process = cluster.start("pause", "n1", "--pattern", "sleep 4711", "--for", "10m")
    wait_until(lambda: state_of(node, sleeper) == "T")
    while process.poll() is None:
        sleeper.send_signal(signal.SIGCONT)
    code, _, err = ended(process)
    assert code == 3, err
    assert "not seen" in err


def test_frozen_is_exit_6(cluster: Cluster) -> None:
    assert cluster.run("freeze").returncode == 0
    try:
        done = cluster.run("partition", "n1", "/", "n2", "--for", "1s")
        assert done.returncode == 6, done.stderr
        assert "trogdor thaw" in done.stderr
    finally:
        assert cluster.run("thaw").returncode == 0
    assert cluster.run("partition", "n1", "/", "n2", "--for", "100ms").returncode == 0


def test_one_frozen_node_refuses_faults_and_is_named(cluster: Cluster) -> None:
    assert cluster.run("freeze", "n2").returncode == 0
    try:
        done = cluster.run("partition", "n1", "/", "n2", "--for", "1s")
        assert (done.returncode, "trogdor thaw n2" in done.stderr) == (6, True), done.stderr
        assert "frozen: n2" in cluster.run("faults").stdout
        assert cluster.run("partition", "n1", "/", "n3", "--for", "100ms").returncode == 0
    finally:
        assert cluster.run("thaw", "n2").returncode == 0
    assert "frozen" not in cluster.run("faults").stdout


def test_a_users_command_that_fails_is_exit_1(cluster: Cluster) -> None:
    document = {"class": "ExternalCommandSpec", "commandNode": "n1", "command": ["/bin/false"]}
    done = cluster.run("run", json.dumps(document), "--for", "30s")
    assert done.returncode == 1, done.stderr + done.stdout


def test_nobody_there_is_exit_5(cluster: Cluster) -> None:
    done = cluster.run("partition", "n1", "/", "n2", "-t", "unix:/no/such.sock")
    assert done.returncode == 5
    assert "unix:/no/such.sock" in done.stderr
    assert "trogdor heal --local" in cluster.run("heal", "-t", "unix:/no/such.sock").stderr


def test_the_lists(cluster: Cluster) -> None:
    assert cluster.run("run", '{"class": "NoOpTaskSpec"}', "--for", "10ms", "--id", "noop").returncode == 0
    assert any(line.split()[:3] == ["noop", "NoOpTask", "done"] for line in cluster.run("ls").stdout.splitlines())
    nodes = [line.split()[:3] for line in cluster.run("nodes").stdout.splitlines()]
    assert nodes[1:] == [["n1", "up", "own"], ["n2", "up", "own"], ["n3", "up", "own"]]
    assert cluster.run("mark", "hello").returncode == 0
    marks = [event for event in cluster.lab.client().events() if event["type"] == "mark"]
    assert [mark["text"] for mark in marks] == ["hello"]


def test_upstreams_client(cluster: Cluster) -> None:
    at = ("-t", cluster.lab.target)
    spec = '{"class": "NoOpTaskSpec", "startMs": 0, "durationMs": 600000}'
    assert cluster.run("client", "createTask", *at, "-i", "up", "--spec", spec).returncode == 0
    again = cluster.run("client", "createTask", *at, "-i", "up", "--spec", spec.replace("600000", "1"))
    assert again.returncode == 1
    assert "got a 409 status code" in again.stdout
    assert cluster.run("client", "showTasks", *at, "--id-pattern", "u.", "--state", "RUNNING").returncode == 0
    shown = cluster.run("client", "showTask", *at, "-i", "up", "-v").stdout
    assert "Task up of type org.apache.kafka.trogdor.task.NoOpTaskSpec is RUNNING. Started " in shown
    assert cluster.run("client", "stopTask", *at, "-i", "up").returncode == 0
    assert "DONE. CANCELLED at " in cluster.run("client", "showTask", *at, "-i", "up").stdout
    assert cluster.run("client", "destroyTask", *at, "-i", "up").returncode == 0
    assert cluster.run("client", "showTask", *at, "-i", "up").returncode == 1


def test_upstreams_agent_client(cluster: Cluster) -> None:
    at = ("-t", str(cluster.lab.agent_client("n3").target))
    spec = '{"class": "NoOpTaskSpec", "startMs": 9999999999999, "durationMs": 600000}'
    created = cluster.run("agent-client", "createWorker", *at, "--workerId", "7", "--taskId", "w", "--spec", spec)
    assert created.returncode == 0, created.stderr
    assert "7         w       WorkerRunning " in cluster.run("agent-client", "status", *at).stdout
    assert cluster.run("agent-client", "stopWorker", *at, "--workerId", "7").returncode == 0
    assert "WorkerDone" in cluster.run("agent-client", "status", *at).stdout
    assert cluster.run("agent-client", "destroyWorker", *at, "--workerId", "7").returncode == 0
    assert "Worker" not in cluster.run("agent-client", "status", *at).stdout


def test_heal_local_refuses_while_an_agent_lives_and_heals_when_none_does(
    cluster: Cluster, sleeper: NodeProcess
) -> None:
    node = cluster.lab.nodes["n1"]
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    heal = [sys.executable, "-m", "trogdor", "heal", "--local"]
    assert cluster.run("pause", "n1", "--pattern", "sleep 4711", "--for", "10m", "--detach").returncode == 0
    refused = node.exec(heal, env=environment, timeout=COMMAND_S)
    assert refused.returncode == 6, refused.stderr + refused.stdout
    assert state_of(node, sleeper) == "T"
    ours = [each.pid for each in node.processes() if "trogdor" in each.command]
    node.exec(["kill", "-KILL", *map(str, ours)])
    wait_until(lambda: not any("trogdor" in each.command for each in node.processes()))
    try:
        dry = node.exec([*heal, "--dry-run"], env=environment, timeout=COMMAND_S)
        assert dry.stdout == f"kill -CONT {sleeper.pid}\n", dry.stderr
        assert state_of(node, sleeper) == "T"
        done = node.exec(heal, env=environment, timeout=COMMAND_S)
        assert done.returncode == 0, done.stderr
        assert "n1: undone: process " in done.stdout
        assert state_of(node, sleeper) == "S"
        assert "nothing was left" in node.exec(heal, env=environment, timeout=COMMAND_S).stdout
    finally:
        cluster.processes["n1"] = cluster.lab.start_daemon("n1")


def test_a_coordinator_that_dies_is_exit_5_and_names_heal(cluster: Cluster, listener: Listener) -> None:
    process = cluster.start("partition", "n1", "/", "n2", "--for", "30s", "--id", "left")
    wait_until(lambda: seen(cluster, listener) == "blocked")
    cluster.processes["coordinator"].kill()
    try:
        code, _, err = ended(process)
        assert code == 5, err
        assert "left" in err
        assert "trogdor heal" in err
    finally:
        cluster.processes["coordinator"] = cluster.lab.start_daemon("coordinator")
    assert cluster.run("heal").returncode == 0
    assert seen(cluster, listener) == "open"
