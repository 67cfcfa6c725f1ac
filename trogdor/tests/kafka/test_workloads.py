"""Each workload against a real broker ends in upstream's status."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from trogdor.lab.lab import Lab
from trogdor.lab.node import NodeProcess

from .conftest import RUN_TIMEOUT_S, begin_with_the_first, run_workload

pytestmark = pytest.mark.xdist_group("one broker")

LATENCY = ["averageLatencyMs", "p50LatencyMs", "p95LatencyMs", "p99LatencyMs"]
PARTITIONS = {"numPartitions": 3, "replicationFactor": 1}


def spec(name: str, **fields: Any) -> dict[str, Any]:
    return {"class": f"org.apache.kafka.trogdor.workload.{name}", "bootstrapServers": "localhost:9092", **fields}


def last_status(messages: list[dict[str, Any]]) -> Any:
    assert not [message for message in messages if "error" in message]
    return [message["status"] for message in messages if "status" in message][-1]


def produce(lab: Lab, topic: str, messages: int, **fields: Any) -> list[dict[str, Any]]:
    wanted = {"targetMessagesPerSec": 100_000, "maxMessages": messages, "activeTopics": {topic: PARTITIONS}}
    return run_workload(lab.node("node0"), "produce_bench", spec("ProduceBenchSpec", **{**wanted, **fields}))


def consume(lab: Lab, topics: list[str], messages: int, **fields: Any) -> list[dict[str, Any]]:
    wanted = spec("ConsumeBenchSpec", maxMessages=messages, activeTopics=topics, **fields)
    return run_workload(lab.node("node0"), "consume_bench", wanted)


def test_produce_bench_ends_in_upstreams_status(one_broker: Lab) -> None:
    said = produce(one_broker, "plain[1-2]", 5000, inactiveTopics={"idle[1-2]": PARTITIONS})
    assert [message.get("status") for message in said[:2]] == ["Creating 4 topic(s)", "Created 4 topic(s)"]
    status = last_status(said)
    assert list(status) == ["totalSent", *LATENCY, "transactionsCommitted"]
    assert (status["totalSent"], status["transactionsCommitted"]) == (5000, 0)


DESCRIBE = """
import json
from confluent_kafka.admin import AdminClient, ConfigResource
client = AdminClient({"bootstrap.servers": "localhost:9092"})
partitions = client.list_topics("assigned", timeout=60).topics["assigned"].partitions
topic = ConfigResource(ConfigResource.Type.TOPIC, "assigned")
retention = client.describe_configs([topic])[topic].result(60)["retention.ms"]
print(json.dumps([{number: part.replicas for number, part in partitions.items()}, retention.value]))
"""


def test_a_topic_is_made_with_the_assignments_and_configs_asked_for(one_broker: Lab) -> None:
    wanted = {"partitionAssignments": {"0": [1], "1": [1]}, "configs": {"retention.ms": "7654321"}}
    produce(one_broker, "assigned", 10, activeTopics={"assigned": wanted})
    described = one_broker.node("node0").exec([sys.executable, "-c", DESCRIBE], timeout=120, check=True).stdout
    assert json.loads(described) == [{"0": [1], "1": [1]}, "7654321"]


def test_what_was_produced_is_consumed_key_and_value(one_broker: Lab) -> None:
    produce(one_broker, "whole", 3000, valueGenerator={"type": "constant", "size": 100})
    said = consume(one_broker, ["whole"], 3000)
    ((client, status),) = last_status(said).items()
    assert client == "consumer.t1-0"
    assert list(status) == [
        "assignedPartitions", "totalMessagesReceived", "totalBytesReceived", "averageMessageSizeBytes", *LATENCY,
    ]  # fmt: skip
    assert sorted(status["assignedPartitions"]) == ["whole-0", "whole-1", "whole-2"]
    assert (status["totalMessagesReceived"], status["totalBytesReceived"]) == (3000, 3000 * 104)
    assert status["averageMessageSizeBytes"] == 104


def test_messages_are_spread_over_the_partitions_in_turn(one_broker: Lab) -> None:
    produce(one_broker, "turns", 6000, activeTopics={"turns": PARTITIONS, "turned": PARTITIONS})
    said = consume(one_broker, ["turns:[0-1]", "turned"], 5000, consumerConf={"client.id": "its own"})
    ((client, status),) = last_status(said).items()
    assert client == "consumer.t1-0"
    assert sorted(status["assignedPartitions"]) == ["turned-0", "turned-1", "turned-2", "turns-0", "turns-1"]
    assert status["totalMessagesReceived"] == 5000


def test_transactions_are_committed_after_every_so_many(one_broker: Lab) -> None:
    generator = {"type": "uniform", "messagesPerTransaction": 50}
    said = produce(one_broker, "atomic", 500, transactionGenerator=generator)
    assert last_status(said)["transactionsCommitted"] == 10
    committed = consume(one_broker, ["atomic"], 500, consumerConf={"isolation.level": "read_committed"})
    (status,) = last_status(committed).values()
    assert status["totalMessagesReceived"] == 500


def test_several_consumers_of_a_group_share_the_partitions(one_broker: Lab) -> None:
    produce(one_broker, "shared", 3000)
    said = consume(one_broker, ["shared"], 500, threadsPerWorker=3, consumerGroup="sharing")
    statuses = last_status(said)
    assert sorted(statuses) == ["consumer.t1-0", "consumer.t1-1", "consumer.t1-2"]
    assert [status["totalMessagesReceived"] for status in statuses.values()] == [500, 500, 500]


def test_several_consumers_of_a_group_cannot_be_assigned_partitions(one_broker: Lab) -> None:
    said = consume(one_broker, ["shared:0"], 1, threadsPerWorker=2, consumerGroup="x")
    assert said[-1]["error"].startswith("You may not specify an explicit partition assignment")


def test_a_timestamp_payload_tells_how_late_messages_come(one_broker: Lab) -> None:
    produce(one_broker, "stamped", 300, valueGenerator={"type": "timestampConstant", "size": 32})
    processor = {"type": "timestamp", "histogramMaxMs": 600_000, "histogramMinMs": 0, "histogramStepMs": 1}
    (status,) = last_status(consume(one_broker, ["stamped"], 300, recordProcessor=processor)).values()
    late = status["recordProcessorStatus"]
    assert list(late) == LATENCY
    assert 0 < late["p50LatencyMs"] <= late["p99LatencyMs"] < 600_000


def test_a_topic_that_exists_otherwise_is_an_error(one_broker: Lab) -> None:
    produce(one_broker, "narrow", 1)
    said = produce(one_broker, "narrow", 1, activeTopics={"narrow": {"numPartitions": 9, "replicationFactor": 1}})
    assert said[-1]["error"] == (
        "Topic 'narrow' exists, but has 3 partitions, while requested  number of partitions is 9"
    )


def test_round_trip_sends_everything_and_gets_it_back(one_broker: Lab) -> None:
    for _ in range(2):  # what the first left in the topic is not taken for the second's
        wanted = spec("RoundTripWorkloadSpec", targetMessagesPerSec=5000, maxMessages=2000)
        said = run_workload(
            one_broker.node("node0"), "round_trip", {**wanted, "activeTopics": {"round[0-1]": PARTITIONS}}
        )
        assert last_status(said) == {"totalUniqueSent": 2000, "totalReceived": 2000}


@contextmanager
def started(lab: Lab, module: str, workload: dict[str, Any]) -> Iterator[NodeProcess]:
    """A workload's process, which has been told what to do; it has ended well when the block is left."""
    command = [sys.executable, "-m", f"trogdor.workload.{module}"]
    with lab.node("node0").popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"id": "t1", "workload": workload}).encode() + b"\n")
        process.stdin.flush()
        yield process
        assert process.wait(30) == 0


def said_by(process: NodeProcess) -> Iterator[dict[str, Any]]:
    """What a workload says, as it says it; an error, or too long a time, fails the test."""
    assert process.stdout is not None
    deadline = time.monotonic() + RUN_TIMEOUT_S
    for line in process.stdout:
        message = json.loads(line)
        assert "error" not in message, message
        assert time.monotonic() < deadline
        yield message


def until_status(said: Iterator[dict[str, Any]], enough: Callable[[dict[str, Any]], Any]) -> None:
    """Listens to a workload until a status is enough."""
    assert any(isinstance(status := message.get("status"), dict) and enough(status) for message in said)


def stopped_after(lab: Lab, module: str, workload: dict[str, Any], enough: Callable[[dict[str, Any]], Any]) -> Any:
    """Runs a workload until a status is enough, stops it by SIGTERM, and returns its last status."""
    with started(lab, module, workload) as process:
        said = said_by(process)
        until_status(said, enough)
        process.send_signal(signal.SIGTERM)
        return last_status(list(said))


@contextmanager
def hanging_broker(lab: Lab) -> Iterator[None]:
    """The broker hangs while the block runs."""
    node = lab.node("node0")
    (broker,) = [str(each.pid) for each in node.processes() if "kafka.Kafka /mnt/kafka" in each.command]
    node.exec(["kill", "-STOP", broker], check=True)
    try:
        yield
    finally:
        node.exec(["kill", "-CONT", broker], check=True)


def test_round_trip_sends_again_what_was_not_acknowledged(one_broker: Lab) -> None:
    wanted = spec(
        "RoundTripWorkloadSpec", targetMessagesPerSec=1000, maxMessages=4000, activeTopics={"again": PARTITIONS},
        producerConf={"delivery.timeout.ms": "1500"},
    )  # fmt: skip
    with started(one_broker, "round_trip", wanted) as process:
        said = said_by(process)
        until_status(said, lambda status: status["totalReceived"])
        with hanging_broker(one_broker):
            assert any("not acknowledged, sent again" in message.get("log", "") for message in said)
        assert last_status(list(said)) == {"totalUniqueSent": 4000, "totalReceived": 4000}


def test_consumers_that_are_stopped_while_the_broker_hangs_end(share_groups: Lab) -> None:
    def took_some(status: dict[str, Any]) -> bool:
        return bool(status["totalMessagesReceived"])

    produce(share_groups, "hung", 100)
    begin_with_the_first(share_groups.node("node0"), "hung")
    common = {"activeTopics": ["hung"], "maxMessages": 1_000_000}
    with (
        started(share_groups, "consume_bench", spec("ConsumeBenchSpec", **common)) as one,
        started(
            share_groups, "share_consume_bench", spec("ShareConsumeBenchSpec", shareGroup="hung", **common)
        ) as other,
    ):
        for process in (one, other):
            until_status(said_by(process), lambda status: [each for each in status.values() if took_some(each)])
        with hanging_broker(share_groups):
            for process in (one, other):
                process.send_signal(signal.SIGTERM)
            for process in (one, other):
                assert process.wait(30) == 0
        for process in (one, other):
            (status,) = last_status(list(said_by(process))).values()
            assert took_some(status)


def test_configurable_producer_produces_until_it_is_stopped(one_broker: Lab) -> None:
    wanted = spec(
        "ConfigurableProducerSpec", activeTopic={"varied": PARTITIONS}, activePartition=1,
        flushGenerator={"type": "constant", "messagesPerFlush": 16},
        throughputGenerator={"type": "constant", "messagesPerWindow": 50, "windowSizeMs": 100},
        keyGenerator={"type": "constant", "size": 8},
        valueGenerator={"type": "uniformRandom", "size": 64, "seed": 1, "padding": 0},
    )  # fmt: skip
    status = stopped_after(one_broker, "configurable_producer", wanted, lambda status: status["totalSent"] >= 200)
    assert list(status) == ["totalSent", *LATENCY]
    (consumed,) = last_status(consume(one_broker, ["varied:1"], 200)).values()
    assert consumed["averageMessageSizeBytes"] == 72


@pytest.mark.parametrize("action", ["CONNECT", "FETCH_METADATA"])
def test_connection_stress_connects_until_it_is_stopped(one_broker: Lab, action: str) -> None:
    wanted = spec("ConnectionStressSpec", targetConnectionsPerSec=50, numThreads=2, action=action)
    status = stopped_after(one_broker, "connection_stress", wanted, lambda status: status["totalConnections"] >= 20)
    assert list(status) == ["totalConnections", "totalFailedConnections", "connectsPerSec"]
    assert status["totalFailedConnections"] == 0
    assert status["connectsPerSec"] > 0


def test_connections_that_are_refused_count_as_failed(one_broker: Lab) -> None:
    wanted = spec("ConnectionStressSpec", targetConnectionsPerSec=50, bootstrapServers="localhost:1")
    status = stopped_after(one_broker, "connection_stress", wanted, lambda status: status["totalConnections"] >= 5)
    assert status["totalFailedConnections"] == status["totalConnections"]


def test_sustained_connections_stay_open(one_broker: Lab) -> None:
    produce(one_broker, "sustained", 1)
    payload = {"type": "constant", "size": 10}
    wanted = spec(
        "SustainedConnectionSpec", producerConnectionCount=2, consumerConnectionCount=1, metadataConnectionCount=1,
        topicName="sustained", numThreads=2, refreshRateMs=100, keyGenerator=payload, valueGenerator=payload,
    )  # fmt: skip

    def all_open(status: dict[str, Any]) -> bool:
        return [status[f"total{kind}Connections"] for kind in ("Producer", "Consumer", "Metadata")] == [2, 1, 1]

    status = stopped_after(one_broker, "sustained_connection", wanted, all_open)
    assert list(status) == [
        "totalProducerConnections", "totalProducerFailedConnections", "totalConsumerConnections",
        "totalConsumerFailedConnections", "totalMetadataConnections", "totalMetadataFailedConnections",
        "totalAbortedThreads", "updatedMs",
    ]  # fmt: skip
    assert status["totalAbortedThreads"] == 0


def test_share_consume_bench_takes_what_its_group_begins_with(share_groups: Lab) -> None:
    node = share_groups.node("node0")
    produce(share_groups, "taken", 1000)
    begin_with_the_first(node, "takers")
    wanted = spec("ShareConsumeBenchSpec", maxMessages=1000, activeTopics=["taken"], shareGroup="takers")
    (status,) = last_status(run_workload(node, "share_consume_bench", wanted)).values()
    assert list(status) == ["totalMessagesReceived", "totalBytesReceived", "averageMessageSizeBytes", *LATENCY]
    assert status["totalMessagesReceived"] == 1000


def test_share_round_trip_sends_everything_and_gets_it_back(share_groups: Lab) -> None:
    topics = {"around[0-1]": PARTITIONS}
    wanted = spec("ShareRoundTripWorkloadSpec", maxMessages=300, targetMessagesPerSec=1000, activeTopics=topics)
    for task_id in ("first", "second"):  # what the first left there is not taken for the second's
        messages = run_workload(share_groups.node("node0"), "share_round_trip", wanted, task_id)
        assert last_status(messages) == {"totalUniqueSent": 300, "totalReceived": 300}


def test_a_share_group_refuses_single_partitions(share_groups: Lab) -> None:
    wanted = spec("ShareConsumeBenchSpec", maxMessages=1, activeTopics=["shared:0"])
    messages = run_workload(share_groups.node("node0"), "share_consume_bench", wanted)
    assert "whole topics" in messages[-1]["error"]
