"""Workloads and faults across the wire between Java Trogdor 4.1.0 and ours: its clients, its agent, its coordinator."""

import http.client
import importlib.util
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest

from trogdor.client import Client
from trogdor.lab.daemons import AGENT_PORT, COORDINATOR_PORT, TOPOLOGY_FILE
from trogdor.lab.http import NodeHTTPConnection, answers
from trogdor.lab.lab import Lab
from trogdor.lab.node import Node, NodeProcess
from trogdor.lab.recipes.jars import QUICK_START, class_path
from trogdor.lab.recipes.kafka_config import PORT as BROKER_PORT
from trogdor.testing.disks import mounted

from .conftest import agent_of, end, until

pytestmark = pytest.mark.xdist_group("one broker")

KIBOSH = importlib.util.find_spec("kibosh") is not None
PACKAGE = "org.apache.kafka.trogdor"
TOPICS = {"java": {"numPartitions": 2, "replicationFactor": 1}}
COMMON = {"startMs": 0, "durationMs": 10_000_000, "bootstrapServers": "node0:9092", "targetMessagesPerSec": 10_000}
PRODUCE = {
    "class": f"{PACKAGE}.workload.ProduceBenchSpec", **COMMON, "producerNode": "node0", "maxMessages": 2000,
    "activeTopics": TOPICS, "inactiveTopics": {},
}  # fmt: skip
ROUND_TRIP = {
    "class": f"{PACKAGE}.workload.RoundTripWorkloadSpec", **COMMON, "clientNode": "node0", "maxMessages": 200,
    "activeTopics": TOPICS,
}  # fmt: skip
CONSUME = {
    "class": f"{PACKAGE}.workload.ConsumeBenchSpec", **COMMON, "consumerNode": "node0", "maxMessages": 1000,
    "activeTopics": ["java"],
}  # fmt: skip
DISK = "/mnt/unreadable"
LATENCY_MS = 200
STOP = {"class": "ProcessStopFaultSpec", "nodeNames": ["node0"], "javaProcessName": "kafka.Kafka"}
PARTITION = {"class": "NetworkPartitionFaultSpec", "partitions": [["node0"], ["far"]]}
SLOW = {"class": "DegradedNetworkFaultSpec", "nodeSpecs": {"node0": {"networkDevice": "eth0", "latencyMs": LATENCY_MS}}}
UNREADABLE = {
    "class": "FilesUnreadableFaultSpec", "nodeNames": ["node0"], "mountPath": DISK, "prefix": "/kept", "errorCode": 5,
}  # fmt: skip
FAULTS: dict[str, dict[str, Any]] = {
    task_id: {**spec, "class": f"{PACKAGE}.fault.{spec['class']}", "startMs": 0, "durationMs": 10_000_000}
    for task_id, spec in {"stop": STOP, "partition": PARTITION, "slow": SLOW, "unreadable": UNREADABLE}.items()
    if KIBOSH or task_id != "unreadable"
}
"""Every fault that upstream has, on one node or, for the partition, on two."""

OF_JAVAS = ["stop", "partition"]
"""Its agent needs netem for slow networks, which this kernel may lack; and it asks Kibosh for an ``errorCode``, where
confluentinc's and ours know a ``code``."""

LATENCIES = {"averageLatencyMs": float, "p50LatencyMs": int, "p95LatencyMs": int, "p99LatencyMs": int}
PRODUCED = {"totalSent": int, **LATENCIES, "transactionsCommitted": int}
"""What the status of a ProduceBench is made of, Java's and ours; below the same of the others."""

WENT_ROUND = {"totalUniqueSent": int, "totalReceived": int}
CONSUMED = {
    "assignedPartitions": list, "totalMessagesReceived": int, "totalBytesReceived": int, "averageMessageSizeBytes": int,
    **LATENCIES,
}  # fmt: skip
"""As Java Trogdor 4.1.0 told it for a client, which it does once a minute: too seldom for a test."""

STOP_FILE = "/tmp/stop.json"
"""Upstream looks for the name in arguments too: it must not be among those of a client."""

JAVA_COORDINATOR_PORT = 8890
JAVAS_CONFIG = "/var/lib/trogdor/java.json"
CLIENT_TIMEOUT_S = 120.0
CUT_OFF_S = 2.0
"""Who is not connected by then is cut off."""

OURS = f"coordinator:{COORDINATOR_PORT}"


@contextmanager
def agents(lab: Lab, kind: Literal["own", "java"]) -> Iterator[None]:
    """An agent on node0, at the port where coordinators look for it, ours or Java's; and one of ours far away."""

    def start() -> NodeProcess:
        if kind == "own":
            return lab.start_daemon("node0")
        options = ["--agent.config", TOPOLOGY_FILE, "--node-name", "node0"]
        return start_java(lab.node("node0"), "agent.Agent", options, AGENT_PORT, "/agent/status")

    with agent_of(lab, lambda: lab.start_daemon("far"), "own", "far"), agent_of(lab, start, kind):
        yield


def java(name: str, *arguments: str) -> list[str]:
    jars = class_path("trogdor-4.1.0")
    return ["java", "-Xmx256m", *QUICK_START, "-cp", jars, f"{PACKAGE}.{name}", *arguments]


def start_java(node: Node, name: str, options: list[str], port: int, path: str) -> NodeProcess:
    process = node.popen(java(name, *options), log=name)
    until(lambda: process.poll() is not None or answers(node, port, path), f"Java's {name} answers")
    assert process.poll() is None, node.log(name)
    return process


def broker_is_stopped(lab: Lab) -> bool:
    """Whether the broker's process is stopped, as the node's kernel tells it."""
    (state,) = [each.state for each in lab.node("node0").processes() if "kafka.Kafka /mnt/kafka" in each.command]
    return state == "T"


@contextmanager
def disk(lab: Lab) -> Iterator[None]:
    """A file on a disk of node0's that can fail."""
    if not KIBOSH:
        yield
        return
    node = lab.node("node0")
    with mounted(node, DISK):
        node.exec(["sh", "-c", f"echo kept > {DISK}/kept"], check=True)
        yield


def in_force(lab: Lab) -> set[str]:
    """Those of the faults that are in force, as somebody who knows nothing of Trogdor sees it."""
    node = lab.node("node0")

    def connecting_s(name: str) -> float:
        began = time.monotonic()
        try:
            lab.node(name).connect(node.address, BROKER_PORT, CUT_OFF_S).close()
        except OSError:
            return CUT_OFF_S
        return time.monotonic() - began

    seen = {
        "stop": broker_is_stopped(lab),
        "partition": connecting_s("far") >= CUT_OFF_S,
        "slow": connecting_s("c1") >= LATENCY_MS / 1000,
        "unreadable": node.exec(["sh", "-c", f"! test -e {DISK}/kibosh_control || cat {DISK}/kept"]).returncode != 0,
    }
    return {task_id for task_id, is_so in seen.items() if is_so}


def finished(task: dict[str, Any]) -> Any:
    """The status of a task that went well."""
    assert not task.get("error"), task
    assert task["status"], task
    return task["status"]


def kinds(status: dict[str, Any]) -> dict[str, type]:
    """The fields of a status, and the type of each."""
    return {name: type(value) for name, value in status.items()}


def test_javas_clients_create_workloads_and_faults_on_ours_and_read_their_status(
    one_broker: Lab, client: Client
) -> None:
    def ask(name: str, command: str, target: str, *arguments: str) -> str:
        command_line = java(name, command, "-t", target, *arguments)
        ran = one_broker.node("node0").exec(command_line, timeout=CLIENT_TIMEOUT_S)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return str(ran.stdout)

    with agents(one_broker, "own"):
        specs = {"produce": PRODUCE, "round": ROUND_TRIP, "consume": CONSUME}
        for task_id, spec in specs.items():
            create = ("-i", task_id, "--spec", json.dumps(spec))
            assert "Sent CreateTaskRequest" in ask("coordinator.CoordinatorClient", "createTask", OURS, *create)
        statuses = {task_id: finished(dict(client.wait_for_done(task_id, deadline_s=180))) for task_id in specs}
        one_broker.node("node0").path(STOP_FILE).write_text(json.dumps(FAULTS["stop"]))
        ask("coordinator.CoordinatorClient", "createTask", OURS, "-i", "stop", "--spec", STOP_FILE)
        until(lambda: broker_is_stopped(one_broker), "the broker is stopped")
        assert "ProcessStopFaultSpec" in ask("agent.AgentClient", "status", f"localhost:{AGENT_PORT}")
        assert "is RUNNING" in ask("coordinator.CoordinatorClient", "showTask", OURS, "-i", "stop", "-v", "-S")
        ask("coordinator.CoordinatorClient", "stopTask", OURS, "-i", "stop")
        assert client.wait_for_done("stop", deadline_s=60)["cancelled"]
        assert not broker_is_stopped(one_broker)
        shown = {
            task_id: ask("coordinator.CoordinatorClient", "showTask", OURS, "-i", task_id, "-v", "-S")
            for task_id in specs
        }
    assert all("is DONE. FINISHED" in text for text in shown.values())
    assert (kinds(statuses["produce"]), kinds(statuses["round"])) == (PRODUCED, WENT_ROUND)
    assert [kinds(status) for status in statuses["consume"].values()] == [CONSUMED]
    assert '"totalSent" : 2000' in shown["produce"]
    assert '"totalReceived" : 200' in shown["round"]
    assert '"totalMessagesReceived" : 1000' in shown["consume"]


def test_a_java_agent_runs_workloads_and_faults_of_our_coordinator(one_broker: Lab, client: Client) -> None:
    with agents(one_broker, "java"):
        for task_id, spec in {"theirs": PRODUCE, "round": ROUND_TRIP}.items():
            client.create_task(task_id, spec)
        status = finished(dict(client.wait_for_done("theirs", deadline_s=180)))
        went_round = finished(dict(client.wait_for_done("round", deadline_s=180)))
        for task_id in OF_JAVAS:
            client.create_task(task_id, FAULTS[task_id])
        until(lambda: in_force(one_broker) == set(OF_JAVAS), "both faults are in force")
        for task_id in OF_JAVAS:
            client.stop_task(task_id)
        until(lambda: not in_force(one_broker), "no fault is in force")
        stopped = {task_id: client.wait_for_done(task_id, deadline_s=180) for task_id in OF_JAVAS}
    assert (kinds(status), kinds(went_round)) == (PRODUCED, WENT_ROUND)
    assert (status["totalSent"], went_round["totalReceived"]) == (2000, 200)
    for task in stopped.values():
        assert (task["cancelled"], task.get("error", "")) == (True, "")
        assert "outlives its agent" in json.dumps(task["status"])


def test_our_agents_run_workloads_and_faults_of_javas_coordinator_beside_ours(one_broker: Lab, client: Client) -> None:
    node = one_broker.node("c1")  # whom the partition does not cut off
    # Java's coordinator looks for an agent on each node, its own too, and stops there what it does not know.
    config = {
        "platform": f"{PACKAGE}.basic.BasicPlatform",
        "nodes": {
            "node0": {"hostname": "node0", "trogdor.agent.port": AGENT_PORT},
            "far": {"hostname": "far", "trogdor.agent.port": AGENT_PORT},
            "java": {
                "hostname": "localhost", "trogdor.coordinator.port": JAVA_COORDINATOR_PORT, "trogdor.agent.port": 1,
            },
        },
    }  # fmt: skip
    node.path(JAVAS_CONFIG).parent.mkdir(parents=True, exist_ok=True)
    node.path(JAVAS_CONFIG).write_text(json.dumps(config))
    options = ["--coordinator.config", JAVAS_CONFIG, "--node-name", "java"]

    def ask(method: str, path: str, body: Any = None) -> Any:
        connection = NodeHTTPConnection(node, "localhost", JAVA_COORDINATOR_PORT, CLIENT_TIMEOUT_S)
        try:
            connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert answer.status == http.client.OK, answer.read()
            return json.loads(answer.read())
        finally:
            connection.close()

    def done() -> Any:
        tasks = ask("GET", "/coordinator/tasks")["tasks"]
        return tasks if all(task["state"] == "DONE" for task in tasks.values()) else None

    with agents(one_broker, "own"), disk(one_broker):
        coordinator = start_java(node, "coordinator.Coordinator", options, JAVA_COORDINATOR_PORT, "/coordinator/status")
        try:
            for task_id, spec in {"java-produce": PRODUCE, "java-round": ROUND_TRIP}.items():
                ask("POST", "/coordinator/task/create", {"id": task_id, "spec": spec})
            until(done, "both workloads are done")
            for task_id, spec in FAULTS.items():
                ask("POST", "/coordinator/task/create", {"id": task_id, "spec": spec})
            until(lambda: in_force(one_broker) == set(FAULTS), "every fault is in force")
            for task_id in FAULTS:
                ask("PUT", "/coordinator/task/stop", {"id": task_id})
            until(lambda: not in_force(one_broker), "no fault is in force")
            tasks = until(done, "every fault is over")
        finally:
            end(coordinator)
    assert kinds(finished(tasks["java-produce"])) == PRODUCED
    assert tasks["java-produce"]["status"]["totalSent"] == 2000
    assert finished(tasks["java-round"]) == {"totalUniqueSent": 200, "totalReceived": 200}
    for task_id in FAULTS:
        stopped = tasks[task_id]
        assert (stopped["cancelled"], stopped.get("error", "")) == (True, "")
    assert tasks["stop"]["status"]["verdict"] == "seen"
    assert client.tasks() == {}
