"""Kafka's workloads across the wire between Java Trogdor 4.1.0 and ours: its client, its agent, its coordinator."""

import http.client
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from trogdor.client import Client
from trogdor.lab.daemons import AGENT_PORT, COORDINATOR_PORT, TOPOLOGY_FILE
from trogdor.lab.http import NodeHTTPConnection, answers
from trogdor.lab.lab import Lab
from trogdor.lab.node import Node, NodeProcess
from trogdor.lab.recipes.jars import QUICK_START, class_path
from trogdor.lab.recipes.kafka import Kafka

from .conftest import until

PACKAGE = "org.apache.kafka.trogdor"
TOPICS = {"java": {"numPartitions": 2, "replicationFactor": 1}}
COMMON = {"startMs": 0, "durationMs": 10_000_000, "bootstrapServers": "node0:9092", "targetMessagesPerSec": 10_000}
PRODUCE = {
    "class": f"{PACKAGE}.workload.ProduceBenchSpec", **COMMON, "producerNode": "node0", "maxMessages": 2000,
    "activeTopics": TOPICS, "inactiveTopics": {},
}  # fmt: skip
SLOW = {**PRODUCE, "maxMessages": 1_000_000, "targetMessagesPerSec": 10}
ROUND_TRIP = {
    "class": f"{PACKAGE}.workload.RoundTripWorkloadSpec", **COMMON, "clientNode": "node0", "maxMessages": 200,
    "activeTopics": TOPICS,
}  # fmt: skip
CONSUME = {
    "class": f"{PACKAGE}.workload.ConsumeBenchSpec", **COMMON, "consumerNode": "node0", "maxMessages": 1000,
    "activeTopics": ["java"],
}  # fmt: skip
JAVA_COORDINATOR_PORT, JAVAS_AGENT_PORT = 8890, 8887
JAVAS_CONFIG = "/var/lib/trogdor/java.json"
SOURCE = Path(__file__).resolve().parents[2] / "src"
CLIENT_TIMEOUT_S = 120.0
OURS = f"coordinator:{COORDINATOR_PORT}"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(nodes=["node0"]) as lab, Kafka(lab):
        lab.node("node0").path(TOPOLOGY_FILE).write_text(json.dumps(lab.topology()))
        lab.start_daemon("coordinator")
        yield lab


@contextmanager
def agent(lab: Lab, java: bool) -> Iterator[None]:
    """An agent on node0, at the port where coordinators look for it: ours or Java's."""
    node = lab.node("node0")
    if java:
        options = ["--agent.config", TOPOLOGY_FILE, "--node-name", "node0"]
        process = start_java(node, "agent.Agent", options, AGENT_PORT, "/agent/status")
    else:
        process = lab.start_daemon("node0")
    try:
        yield
    finally:
        end(process)


def java(name: str, *arguments: str) -> list[str]:
    jars = class_path("trogdor-4.1.0")
    return ["java", "-Xmx256m", *QUICK_START, "-cp", jars, f"{PACKAGE}.{name}", *arguments]


def start_java(node: Node, name: str, options: list[str], port: int, path: str) -> NodeProcess:
    process = node.popen(java(name, *options), log=name)
    until(lambda: process.poll() is not None or answers(node, port, path), f"Java's {name} answers")
    assert process.poll() is None, node.log(name)
    return process


def end(process: NodeProcess) -> None:
    process.kill()
    process.wait(60)
    process.close()


def agent_met(client: Client, kind: str) -> bool:
    node = client.nodes()["node0"]
    return bool(node["up"] and node["kind"] == kind)


def finished(task: dict[str, Any]) -> Any:
    """The status of a task that went well."""
    assert not task.get("error"), task
    assert task["status"], task
    return task["status"]


def test_javas_clients_create_workloads_on_ours_and_read_their_status(lab: Lab) -> None:
    node, ours = lab.node("node0"), lab.client()

    def client(name: str, command: str, target: str, *arguments: str) -> str:
        ran = node.exec(java(name, command, "-t", target, *arguments), timeout=CLIENT_TIMEOUT_S)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return str(ran.stdout)

    with agent(lab, java=False):
        until(lambda: agent_met(ours, "own"), "our agent is met")
        specs = {"produce": PRODUCE, "round": ROUND_TRIP, "consume": CONSUME}
        for task_id, spec in specs.items():
            create = ("-i", task_id, "--spec", json.dumps(spec))
            assert "Sent CreateTaskRequest" in client("coordinator.CoordinatorClient", "createTask", OURS, *create)
        client("coordinator.CoordinatorClient", "createTask", OURS, "-i", "slow", "--spec", json.dumps(SLOW))
        until(lambda: ours.task("slow")["state"] == "RUNNING", "the slow one runs")
        assert "ProduceBenchSpec" in client("agent.AgentClient", "status", f"localhost:{AGENT_PORT}")
        client("coordinator.CoordinatorClient", "stopTask", OURS, "-i", "slow")
        assert ours.wait_for_done("slow", deadline_s=60)["cancelled"]
        for task_id in specs:
            finished(dict(ours.wait_for_done(task_id, deadline_s=180)))
        shown = {
            task_id: client("coordinator.CoordinatorClient", "showTask", OURS, "-i", task_id, "-v", "-S")
            for task_id in specs
        }
    assert all("is DONE. FINISHED" in text for text in shown.values())
    assert '"totalSent" : 2000' in shown["produce"]
    assert '"totalReceived" : 200' in shown["round"]
    assert '"totalMessagesReceived" : 1000' in shown["consume"]


def test_a_java_agent_runs_workloads_of_our_coordinator(lab: Lab) -> None:
    ours = lab.client()
    with agent(lab, java=True):
        until(lambda: agent_met(ours, "java"), "Java's agent is met")
        ours.create_task("theirs", PRODUCE)
        status = finished(dict(ours.wait_for_done("theirs", deadline_s=180)))
    assert status["totalSent"] == 2000


def test_our_agent_runs_workloads_of_javas_coordinator(lab: Lab) -> None:
    node = lab.node("node0")
    config = {
        "platform": f"{PACKAGE}.basic.BasicPlatform",
        "nodes": {
            "node0": {"hostname": "localhost", "trogdor.agent.port": JAVAS_AGENT_PORT},
            "java": {"hostname": "localhost", "trogdor.coordinator.port": JAVA_COORDINATOR_PORT},
        },
    }
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

    with ExitStack() as stack:
        ours = ["-m", "trogdor", "agent", "-c", JAVAS_CONFIG, "-n", "node0", "--state", "/var/lib/trogdor/javas"]
        path = [str(SOURCE), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
        process = node.popen([sys.executable, *ours], log="javas-agent", env=environment)
        stack.callback(end, process)
        until(lambda: answers(node, JAVAS_AGENT_PORT, "/agent/status"), "our agent answers")
        path = "/coordinator/status"
        stack.callback(end, start_java(node, "coordinator.Coordinator", options, JAVA_COORDINATOR_PORT, path))
        for task_id, spec in {"java-produce": PRODUCE, "java-round": ROUND_TRIP}.items():
            ask("POST", "/coordinator/task/create", {"id": task_id, "spec": spec})

        def done() -> Any:
            tasks = ask("GET", "/coordinator/tasks")["tasks"]
            return tasks if all(task["state"] == "DONE" for task in tasks.values()) else None

        tasks = until(done, "both workloads are done")
    assert finished(tasks["java-produce"])["totalSent"] == 2000
    assert finished(tasks["java-round"]) == {"totalUniqueSent": 200, "totalReceived": 200}
