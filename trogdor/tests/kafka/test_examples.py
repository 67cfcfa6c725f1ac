"""The specs of upstream's own examples (tests/spec of Apache Kafka), given to the coordinator unchanged."""

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from trogdor.client import Client
from trogdor.lab.lab import Lab
from trogdor.lab.node import NodeProcess

from .conftest import RUN_TIMEOUT_S, agent_of, begin_with_the_first, until

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
SIMPLE_SHARE_CONSUME_BENCH = {
    "class": f"{UPSTREAM}ShareConsumeBenchSpec", **COMMON, "consumerNode": "node0",
    "targetMessagesPerSec": 1000, "threadsPerWorker": 5, "shareGroup": "sg", "maxMessages": 10000,
    "activeTopics": ["foo[1-3]"],
}  # fmt: skip
ROUND_TRIP = {
    "class": f"{UPSTREAM}RoundTripWorkloadSpec", **COMMON, "clientNode": "node0",
    "targetMessagesPerSec": 1000, "maxMessages": 100, "activeTopics": topics("round_trip_topic[0-1]", 2),
}  # fmt: skip
SHARE_ROUND_TRIP = {
    **ROUND_TRIP, "class": f"{UPSTREAM}ShareRoundTripWorkloadSpec",
    "activeTopics": topics("round_trip_topic_share[0-1]", 2),
}  # fmt: skip
TRANSACTIONAL_PRODUCE_BENCH = {
    "class": f"{UPSTREAM}ProduceBenchSpec", **COMMON, "producerNode": "node0",
    "targetMessagesPerSec": 100, "maxMessages": 500,
    "transactionGenerator": {"type": "uniform", "messagesPerTransaction": 50},
    "activeTopics": topics("foo[1-3]", 3), "inactiveTopics": topics("foo[4-5]", 3),
}  # fmt: skip
CONNECTION_STRESS = {
    "class": f"{UPSTREAM}ConnectionStressSpec", **COMMON, "durationMs": 60000, "clientNode": "node0",
    "targetConnectionsPerSec": 100, "numThreads": 10, "action": "CONNECT",
}  # fmt: skip

EXTERNAL_COMMAND = {
    "class": f"{UPSTREAM}ExternalCommandSpec", "command": ["./tests/bin/external_trogdor_command_example.py"],
    "durationMs": 10_000_000, "commandNode": "node0",
    "workload": {"class": f"{UPSTREAM}ProduceBenchSpec", "message": "Hello, world", "delayMs": 2000},
}  # fmt: skip
COMMAND = f"""#!{sys.executable}
import json, sys, time
workload = json.loads(sys.stdin.readline())["workload"]
print("started with", workload, flush=True)
print(json.dumps({{"status": "running"}}), flush=True)
time.sleep(workload["delayMs"] / 1000)
print(json.dumps({{"status": "exiting after %s delayMs" % workload["delayMs"]}}), flush=True)
"""
"""Says what upstream's example says."""


FOO = [f"foo{number}" for number in range(1, 6)]
DELETE = """
import json, sys
from confluent_kafka.admin import AdminClient
client = AdminClient({"bootstrap.servers": "localhost:9092"})
there = client.list_topics(timeout=60).topics
names = [name for name in json.loads(sys.argv[1]) if name in there]
for future in client.delete_topics(names).values() if names else ():
    future.result(60)
"""


@pytest.fixture(scope="module", autouse=True)
def agent(one_broker: Lab) -> Iterator[None]:
    def start() -> NodeProcess:
        with contextlib.chdir("/tmp"):  # the external command is looked for from there
            return one_broker.start_daemon("node0")

    with agent_of(one_broker, start, "own"):
        yield


def ran(client: Client, task_id: str, spec: dict[str, Any]) -> Any:
    """The status with which a spec ends."""
    client.create_task(task_id, spec)
    task = client.wait_for_done(task_id, deadline_s=180)
    assert not task.get("error"), task
    return task["status"]


@pytest.fixture
def no_foo(one_broker: Lab) -> None:
    """The topics of the examples that have the same names are not there."""
    one_broker.node("node0").exec([sys.executable, "-c", DELETE, json.dumps(FOO)], timeout=RUN_TIMEOUT_S, check=True)


def test_simple_produce_bench_then_both_simple_consume_benches(share_groups: Lab, client: Client, no_foo: None) -> None:
    assert ran(client, "produce", SIMPLE_PRODUCE_BENCH)["totalSent"] == 50000
    begin_with_the_first(share_groups.node("node0"), "sg")
    client.create_task("share", SIMPLE_SHARE_CONSUME_BENCH)
    statuses = ran(client, "consume", SIMPLE_CONSUME_BENCH)
    assert sorted(statuses) == [f"consumer.consume-{number}" for number in range(5)]
    assert [status["totalMessagesReceived"] for status in statuses.values()] == [10000] * 5
    # Members of a share group take what there is in turns: whether the last finds 10000 left is nobody's promise, and
    # neither is that a message comes only once.
    until(lambda: sum(map(received, client.task("share")["status"].values())) >= 10000, "the share group receives")
    client.stop_task("share")
    task = client.wait_for_done("share", deadline_s=60)
    assert not task.get("error"), task
    assert sorted(task["status"]) == [f"consumer.share-{number}" for number in range(5)]
    assert sum(map(received, task["status"].values())) >= 10000


def received(status: dict[str, Any]) -> int:
    return int(status["totalMessagesReceived"])


def test_round_trip(client: Client) -> None:
    assert ran(client, "round", ROUND_TRIP) == {"totalUniqueSent": 100, "totalReceived": 100}


def test_share_round_trip(share_groups: Lab, client: Client) -> None:
    assert ran(client, "round", SHARE_ROUND_TRIP) == {"totalUniqueSent": 100, "totalReceived": 100}


def test_transactional_produce_bench(client: Client, no_foo: None) -> None:
    status = ran(client, "transactional", TRANSACTIONAL_PRODUCE_BENCH)
    assert (status["totalSent"], status["transactionsCommitted"]) == (500, 10)


def test_external_command(one_broker: Lab, client: Client) -> None:
    command = one_broker.node("node0").path("/tmp/tests/bin/external_trogdor_command_example.py")
    command.parent.mkdir(parents=True, exist_ok=True)
    command.write_text(COMMAND)
    command.chmod(0o755)
    assert ran(client, "command", EXTERNAL_COMMAND) == "exiting after 2000 delayMs"


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
