"""The specs of upstream's own examples (tests/spec of Apache Kafka), given to the coordinator unchanged."""

from collections.abc import Iterator
from typing import Any

import pytest

from trogdor.client import Client
from trogdor.lab.lab import Lab

from .conftest import agent_of, until

pytestmark = pytest.mark.xdist_group("one broker")

UPSTREAM = "org.apache.kafka.trogdor.workload."
COMMON = {"durationMs": 10_000_000, "bootstrapServers": "localhost:9092"}


def topics(pattern: str, partitions: int) -> dict[str, Any]:
    return {pattern: {"numPartitions": partitions, "replicationFactor": 1}}


SIMPLE_PRODUCE_BENCH = {
    "class": f"{UPSTREAM}ProduceBenchSpec", **COMMON, "producerNode": "node0",
    "targetMessagesPerSec": 10000, "maxMessages": 50000,
    "activeTopics": topics("foo[1-3]", 10), "inactiveTopics": topics("foo[4-5]", 10),
}  # fmt: skip
SIMPLE_CONSUME_BENCH = {
    "class": f"{UPSTREAM}ConsumeBenchSpec", **COMMON, "consumerNode": "node0",
    "targetMessagesPerSec": 1000, "threadsPerWorker": 5, "consumerGroup": "cg", "maxMessages": 10000,
    "activeTopics": ["foo[1-3]"],
}  # fmt: skip
ROUND_TRIP = {
    "class": f"{UPSTREAM}RoundTripWorkloadSpec", **COMMON, "clientNode": "node0",
    "targetMessagesPerSec": 1000, "maxMessages": 100, "activeTopics": topics("round_trip_topic[0-1]", 2),
}  # fmt: skip
TRANSACTIONAL_PRODUCE_BENCH = {
    "class": f"{UPSTREAM}ProduceBenchSpec", **COMMON, "producerNode": "node0",
    "targetMessagesPerSec": 100, "maxMessages": 500,
    "transactionGenerator": {"type": "uniform", "messagesPerTransaction": 50},
    "activeTopics": topics("tfoo[1-3]", 3), "inactiveTopics": topics("tfoo[4-5]", 3),
}  # fmt: skip
CONNECTION_STRESS = {
    "class": f"{UPSTREAM}ConnectionStressSpec", **COMMON, "durationMs": 60000, "clientNode": "node0",
    "targetConnectionsPerSec": 100, "numThreads": 10, "action": "CONNECT",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def agent(one_broker: Lab) -> Iterator[None]:
    with agent_of(one_broker, lambda: one_broker.start_daemon("node0"), "own"):
        yield


def ran(client: Client, task_id: str, spec: dict[str, Any]) -> Any:
    """The status with which a spec ends."""
    client.create_task(task_id, spec)
    task = client.wait_for_done(task_id, deadline_s=180)
    assert not task.get("error"), task
    return task["status"]


def test_simple_produce_bench_and_then_simple_consume_bench(client: Client) -> None:
    assert ran(client, "produce", SIMPLE_PRODUCE_BENCH)["totalSent"] == 50000
    statuses = ran(client, "consume", SIMPLE_CONSUME_BENCH)
    assert sorted(statuses) == [f"consumer.consume-{number}" for number in range(5)]
    assert [status["totalMessagesReceived"] for status in statuses.values()] == [10000] * 5


def test_round_trip(client: Client) -> None:
    assert ran(client, "round", ROUND_TRIP) == {"totalUniqueSent": 100, "totalReceived": 100}


def test_transactional_produce_bench(client: Client) -> None:
    status = ran(client, "transactional", TRANSACTIONAL_PRODUCE_BENCH)
    assert (status["totalSent"], status["transactionsCommitted"]) == (500, 10)


def test_connection_stress_runs_until_it_is_stopped(client: Client) -> None:
    client.create_task("stress", CONNECTION_STRESS)

    def connected() -> bool:
        status = client.task("stress").get("status")
        return isinstance(status, dict) and status.get("totalConnections", 0) >= 100

    until(connected, "100 connections")
    client.stop_task("stress")
    task = client.wait_for_done("stress", deadline_s=60)
    assert (task["cancelled"], task["status"]["totalFailedConnections"]) == (True, 0)


def test_a_broker_that_is_not_there_is_told_in_the_log_and_the_task_can_be_stopped(client: Client) -> None:
    client.create_task("nowhere", {**ROUND_TRIP, "bootstrapServers": "localhost:1"})
    until(lambda: client.task("nowhere").get("status") == "Creating 2 topic(s)", "it tries")
    client.stop_task("nowhere")
    assert client.wait_for_done("nowhere", deadline_s=60)["cancelled"]
