"""One broker that the tests of workloads share, and what all tests on real brokers ask with."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab.waiting import forget_all
from trogdor.client import Client
from trogdor.lab.daemons import TOPOLOGY_FILE
from trogdor.lab.lab import Lab
from trogdor.lab.node import Node, NodeProcess
from trogdor.lab.recipes.jars import QUICK_START, class_path
from trogdor.lab.recipes.kafka import Kafka

PATIENCE_S = 180.0
RUN_TIMEOUT_S = 120.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.kafka)


def until(true: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """What ``true()`` returns once that is true. Fails with ``what`` when it never is."""
    deadline = time.monotonic() + patience_s
    while not (value := true()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {patience_s:.0f} s: {what}")
        time.sleep(0.5)
    return value


def resolve(lab: Lab, role: str, **options: Any) -> dict[str, Any]:
    """What the resolver ``kafka`` answers, asked from the coordinator's node."""
    question = {"resolve": "kafka", "role": role, "options": options}
    asked = json.dumps({"topology": lab.topology(), "questions": [question]})
    told = lab.coordinator.exec([sys.executable, "-m", "trogdor.resolve"], input=asked, check=True).stdout
    answer: dict[str, Any] = json.loads(told)["answers"][0]
    return answer


def run_workload(node: Node, module: str, workload: dict[str, Any], task_id: str = "t1") -> list[dict[str, Any]]:
    """Runs a workload's process on a node to its end: every message it wrote."""
    line = json.dumps({"id": task_id, "workload": workload}) + "\n"
    command = [sys.executable, "-m", f"trogdor.workload.{module}"]
    ran = node.exec(command, input=line, timeout=RUN_TIMEOUT_S, check=True)
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.fixture(scope="session")
def one_broker() -> Iterator[Lab]:
    """A broker on ``node0``, its controller on ``c1``, nothing on ``far``, and our coordinator; agents come and go."""
    with Lab(nodes=["node0", "c1", "far"]) as lab, Kafka(lab, ["node0"], controllers=["c1"]):
        lab.node("node0").path(TOPOLOGY_FILE).write_text(json.dumps(lab.topology()))
        lab.start_daemon("coordinator")
        yield lab


@pytest.fixture(scope="session")
def share_groups(one_broker: Lab) -> Lab:
    """The broker, with share groups: what `kafka-features.sh upgrade` does."""
    command = ["java", *QUICK_START, "-cp", class_path("kafka-tools-4.1.0"), "org.apache.kafka.tools.FeatureCommand"]
    command += ["--bootstrap-server", "localhost:9092", "upgrade", "--feature", "share.version=1"]
    one_broker.node("node0").exec(command, timeout=RUN_TIMEOUT_S, check=True)
    return one_broker


EARLIEST = """
import sys
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
entry = ConfigEntry("share.auto.offset.reset", "earliest", incremental_operation=AlterConfigOpType.SET)
group = ConfigResource(ResourceType.GROUP, sys.argv[1], incremental_configs=[entry])
client = AdminClient({"bootstrap.servers": "localhost:9092"})
client.incremental_alter_configs([group])[group].result(60)
"""


def begin_with_the_first(node: Node, group: str) -> None:
    """Has a share group that is to come begin with the first message of its topics."""
    node.exec([sys.executable, "-c", EARLIEST, group], timeout=RUN_TIMEOUT_S, check=True)


@pytest.fixture
def client(one_broker: Lab) -> Iterator[Client]:
    """The coordinator's client; what a test has asked for is forgotten, so that it may be run again."""
    with one_broker.client() as client:
        yield client
        forget_all(client)


@contextmanager
def agent_of(lab: Lab, start: Callable[[], NodeProcess], kind: str, name: str = "node0") -> Iterator[None]:
    """An agent on a node while the block runs, which our coordinator has met as ``own`` or ``java``."""
    process = start()
    try:
        with lab.client() as client:
            until(lambda: (node := client.nodes()[name])["up"] and node["kind"] == kind, f"the {kind} agent is met")
        yield
    finally:
        end(process)


def end(process: NodeProcess) -> None:
    """Kills a process, and forgets it."""
    process.kill()
    process.wait(60)
    process.close()
