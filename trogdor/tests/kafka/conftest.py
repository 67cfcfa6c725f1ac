"""One cluster a module, on nodes of a lab with Trogdor's own daemons on them."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trogdor.lab.lab import Lab
from trogdor.lab.node import Node
from trogdor.lab.recipes.kafka import Kafka

PATIENCE_S = 90.0
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


@pytest.fixture(scope="module")
def one_broker() -> Iterator[tuple[Lab, Kafka]]:
    """A lab of two nodes, a broker on the first."""
    with Lab(nodes=["n1", "n2"]) as lab, Kafka(lab, ["n1"]) as kafka:
        yield lab, kafka
