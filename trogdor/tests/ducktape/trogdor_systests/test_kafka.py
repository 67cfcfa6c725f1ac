"""Faults under a Kafka cluster of three brokers: run by ducktape."""

from collections.abc import Callable
from typing import Any

from ducktape.mark.resource import cluster
from ducktape.services.service import Service
from ducktape.tests.test import Test
from ducktape.utils.util import wait_until

from trogdor.ducktape.kafka import KafkaService
from trogdor.ducktape.kibosh import KiboshService
from trogdor.ducktape.network_partition_fault_spec import NetworkPartitionFaultSpec
from trogdor.ducktape.round_trip_workload import RoundTripWorkloadService, RoundTripWorkloadSpec
from trogdor.ducktape.task_spec import TaskSpec
from trogdor.ducktape.trogdor import TrogdorService
from trogdor.ducktape.verifiable import VerifiableConsumer, VerifiableProducer
from trogdor.ducktape.zookeeper import ZookeeperService

DEADLINE_SEC = 180
TOPIC = "kept"
REPLICATED = {"partitions": 1, "replication-factor": 3, "configs": {"min.insync.replicas": 2}}
UNWRITABLE = "trogdor.fault.FilesUnwritableFaultSpec"
DISK = f"{KafkaService.PERSISTENT_ROOT}/disk"


class KafkaTest(Test):  # type: ignore[misc]
    """Three brokers with an agent each, and a coordinator's node."""

    def start_trogdor(self, *services: Any) -> TrogdorService:
        trogdor = TrogdorService(self.test_context, client_services=services)
        trogdor.start()
        return trogdor

    def kraft(self) -> KafkaService:
        kafka = KafkaService(self.test_context, 3, topics={TOPIC: REPLICATED})
        kafka.start()
        return kafka

    @cluster(num_nodes=5)
    def test_round_trip_under_a_partition_brings_every_message_back(self) -> None:
        kafka = self.kraft()
        client = RoundTripWorkloadService(self.test_context, kafka)
        trogdor = self.start_trogdor(kafka, client)
        away = kafka.leader(TOPIC)
        others = [node for node in (*kafka.nodes, *client.nodes) if node is not away]
        topics = {"round": {"numPartitions": 3, "replicationFactor": 3}}
        spec = RoundTripWorkloadSpec(
            0, TaskSpec.MAX_DURATION_MS, client.client_node, client.bootstrap_servers, 200, 4000, topics
        )
        task = trogdor.create_task("round-trip", spec)
        await_true(lambda: received(trogdor) > 100, "messages come back")
        partition = NetworkPartitionFaultSpec(0, TaskSpec.MAX_DURATION_MS, [[away], others])
        with trogdor.fault(partition, unverified=True):  # what a probe cannot tell on a busy machine, the cluster will
            await_true(lambda: kafka.leader(TOPIC, without=[away]) not in (None, away), "another leader")
            before = received(trogdor)
            await_true(lambda: received(trogdor) > before or task.done(), "messages come back under the partition")
        task.wait_for_done(DEADLINE_SEC)
        assert received(trogdor) == 4000
        await_true(lambda: kafka.isr_idx_list(TOPIC) == [1, 2, 3], "every replica is in sync again")

    @cluster(num_nodes=4)
    def test_a_suspended_controller_is_replaced(self) -> None:
        kafka = self.kraft()
        trogdor = self.start_trogdor(kafka)
        first = kafka.controller()
        assert first is not None
        fault = {
            "class": "trogdor.fault.ControllerSuspendFaultSpec",
            "durationMs": TaskSpec.MAX_DURATION_MS,
            "bootstrapServers": kafka.bootstrap_servers(),
        }
        task = trogdor.create_task("suspend", fault)
        await_true(lambda: stopped(kafka, first), "the controller's process stands still")
        await_true(lambda: kafka.controller(without=[first]) not in (None, first), "another controller")
        task.stop()
        task.wait_for_done(DEADLINE_SEC)
        assert not stopped(kafka, first)
        await_true(lambda: kafka.isr_idx_list(TOPIC) == [1, 2, 3], "every replica is in sync again")

    @cluster(num_nodes=4)
    def test_a_leader_whose_disk_fails_gives_way_and_no_message_is_lost(self) -> None:
        nodes = Service(self.test_context, num_nodes=3).nodes
        mount, prefix = KafkaService.DATA_DIR, f"/{TOPIC}-0/"
        kibosh = KiboshService(self.test_context, nodes, DISK, mount)
        kibosh.start()
        kafka = KafkaService(self.test_context, 3, topics={TOPIC: REPLICATED}, nodes=nodes)
        kafka.start(clean=False)
        trogdor = self.start_trogdor(kafka)
        first = kafka.leader(TOPIC)
        producer = VerifiableProducer(self.test_context, 1, kafka, TOPIC, throughput=100, nodes=nodes[:1])
        producer.start()
        await_true(lambda: producer.num_acked > 100, "messages are acknowledged")
        written = f"touch {mount}{prefix}other && echo text >{mount}{prefix}other"
        assert first.account.ssh(written) == 0
        fault = {"class": UNWRITABLE, "nodeNames": [first.name], "mountPath": mount, "prefix": prefix}
        with trogdor.fault(fault):
            assert first.account.ssh(written, allow_fail=True) != 0
            await_true(lambda: kafka.leader(TOPIC, without=[first]) not in (None, first), "another leader")
            await_true(lambda: not kafka.alive(first), "a broker without a disk ends")
            acked = producer.num_acked
            await_true(lambda: producer.num_acked > acked + 100, "messages are acknowledged without it")
        kafka.restart_node(first)
        await_true(lambda: kafka.isr_idx_list(TOPIC) == [1, 2, 3], "every replica is in sync again")
        producer.stop()
        consumer = VerifiableConsumer(self.test_context, 1, kafka, TOPIC, "all", nodes=nodes[1:2])
        consumer.start()
        await_true(lambda: set(producer.acked) <= set(consumer.consumed), "no acknowledged message is lost")

    @cluster(num_nodes=4)
    def test_a_broker_cut_off_from_zookeeper_leaves_the_cluster_and_comes_back(self) -> None:
        zk = ZookeeperService(self.test_context, 1)
        zk.start()
        kafka = KafkaService(self.test_context, 2, zk)
        kafka.start()
        trogdor = self.start_trogdor(kafka)
        away = kafka.nodes[0]
        fault = {
            "class": "trogdor.fault.ZooKeeperPartitionFaultSpec",
            "durationMs": TaskSpec.MAX_DURATION_MS,
            "nodeNames": [away.name],
            "zookeeperNodes": [zk.nodes[0].account.externally_routable_ip],
            "bootstrapServers": kafka.bootstrap_servers(),
        }
        task = trogdor.create_task("cut", fault)
        await_true(lambda: not task.done() and kafka.registered(without=[away]) == [2], "its session has expired")
        task.stop()
        task.wait_for_done(DEADLINE_SEC)
        await_true(lambda: kafka.registered(without=[away]) == [1, 2], "it is back")


def received(trogdor: TrogdorService) -> int:
    """How many messages of the round trip have come back."""
    status = trogdor.tasks()["tasks"]["round-trip"].get("status")
    return int(status["totalReceived"]) if isinstance(status, dict) and "totalReceived" in status else 0


def stopped(kafka: KafkaService, node: Any) -> bool:
    """Whether a broker's process is stopped."""
    (pid,) = kafka.pids(node)
    return bool(node.account.ssh_output(f"sed 's/.*) //' /proc/{pid}/stat").split()[0] == b"T")


def await_true(check: Callable[[], object], what: str) -> None:
    """Returns once the check is true; an answer that could not be had is none."""

    def holds() -> bool:
        try:
            return bool(check())
        except OSError:
            return False

    wait_until(holds, timeout_sec=DEADLINE_SEC, backoff_sec=0.2, err_msg=f"not within {DEADLINE_SEC} s: {what}")
