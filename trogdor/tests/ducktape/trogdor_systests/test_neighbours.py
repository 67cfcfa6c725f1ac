"""All our services on one node, beside strangers: run by ducktape."""

from typing import Any

from ducktape.mark.resource import cluster
from ducktape.services.service import Service
from ducktape.tests.test import Test
from ducktape.utils.util import wait_until

from trogdor.deploy import daemon
from trogdor.ducktape.console import ConsoleConsumer, ConsoleProducer
from trogdor.ducktape.jmx import JmxTool
from trogdor.ducktape.kafka import KafkaService
from trogdor.ducktape.kibosh import KiboshService
from trogdor.ducktape.trogdor import TrogdorService
from trogdor.ducktape.verifiable import VerifiableConsumer, VerifiableProducer
from trogdor.ducktape.zookeeper import ZookeeperService

DEADLINE_SEC = 180
JMX_PORT = 9192
UPTIME = "java.lang:type=Runtime:Uptime"
STRANGER = "/mnt/stranger"
FILES = ("/mnt/kafka-notes", "/mnt/zookeeper.bak", "/mnt/stranger/kafka.Kafka")
SOURCE = """\
class Main { public static void main(String[] words) throws Exception { Thread.sleep(3600_000); } }
"""


class NeighboursTest(Test):  # type: ignore[misc]
    """One node of the test's own, lent to every service."""

    def __init__(self, test_context: Any) -> None:
        super().__init__(test_context)
        self.nodes = Service(test_context, num_nodes=1).nodes
        self.account = self.nodes[0].account

    def setup(self) -> None:
        """A stranger's JVM, whose command line has all our names in it, and a stranger's files beside ours."""
        self.account.ssh(f"mkdir {STRANGER} && cd /mnt && for each in {' '.join(FILES)}; do echo $each >$each; done")
        words = "kafka.Kafka QuorumPeerMain ConsoleConsumer VerifiableProducer JmxTool /mnt/kafka/server.properties"
        daemon.start(
            self.account,
            f"java -Xmx32m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC {STRANGER}/Main.java {words}",
            pid_file=f"{STRANGER}/pid",
            log=f"{STRANGER}/log",
            files={f"{STRANGER}/Main.java": SOURCE},
        )
        self.stranger = daemon.pid(self.account, f"{STRANGER}/pid")
        assert self.stranger is not None
        self.files = self.strangers_files()

    def teardown(self) -> None:
        self.account.ssh(f"kill -KILL {self.stranger}; rm -rf {STRANGER} {' '.join(FILES)}")

    def strangers_files(self) -> bytes:
        found: bytes = self.account.ssh_output(f"sha256sum {' '.join(FILES)} {STRANGER}/Main.java")
        return found

    @cluster(num_nodes=2)
    def test_services_on_one_node_touch_no_stranger(self) -> None:
        context, nodes = self.test_context, self.nodes
        zk = ZookeeperService(context, nodes=nodes)
        kafka = KafkaService(context, 1, zk, topics={"kept": {}, "counted": {}}, jmx_port=JMX_PORT, nodes=nodes)
        for service in (zk, kafka):
            service.start()
        jmx = JmxTool(context, nodes, ["java.lang:type=Runtime"], ["Uptime"], 500, JMX_PORT)
        messages = [f"message {number}" for number in range(100)]
        sender = ConsoleProducer(context, 1, kafka, "kept", messages, nodes=nodes)
        reader = ConsoleConsumer(context, 1, kafka, "kept", nodes=nodes)
        producer = VerifiableProducer(context, 1, kafka, "counted", 500, nodes=nodes)
        consumer = VerifiableConsumer(context, 1, kafka, "counted", "counting", nodes=nodes)
        kibosh = KiboshService(context, nodes, "/mnt/kept", "/mnt/faulty")
        trogdor = TrogdorService(context, client_services=[kafka])
        java = [zk, kafka, jmx, sender, reader, producer, consumer]
        services = [*java, kibosh, trogdor]
        for service in services[2:]:
            service.start()
        (node,) = nodes
        assert all(self.stranger not in service.pids(node) for service in java)
        await_true(lambda: reader.messages_consumed[1] == messages, "every message is read")
        await_true(lambda: consumer.consumed == list(range(500)), "every number is read")
        assert (producer.acked, producer.not_acked) == (list(range(500)), [])
        uptime = jmx.maximum_jmx_value[UPTIME]
        await_true(lambda: jmx.maximum_jmx_value[UPTIME] > uptime, "a later sample")
        for service in (zk, kafka, jmx, reader, consumer):
            assert len(service.pids(node)) == 1, f"{service.name} runs, and is known by its JVM"
        assert kibosh.kibosh_running(node)
        for service in reversed(services):
            service.stop()
        assert not any(service.alive(node) for service in java)
        assert not kibosh.kibosh_running(node)
        for service in services:
            service.clean()
        assert self.account.ssh(f"kill -0 {self.stranger}", allow_fail=True) == 0, "the stranger lives"
        assert self.strangers_files() == self.files
        left = self.account.ssh_output("ls -d /mnt/*").decode().split()
        assert left == ["/mnt/kafka-notes", STRANGER, "/mnt/zookeeper.bak"]

    @cluster(num_nodes=1)
    def test_a_pid_that_is_somebody_elses_by_now_is_left_alone(self) -> None:
        (node,) = self.nodes
        kafka = KafkaService(self.test_context, 1, nodes=self.nodes)
        self.account.ssh(f"mkdir -p /mnt/kafka && echo {self.stranger} 1 >{kafka.pid_file}")
        assert (kafka.pids(node), kafka.alive(node)) == ([], False)
        kafka.stop()
        kafka.clean()
        assert self.account.ssh(f"kill -0 {self.stranger}", allow_fail=True) == 0


def await_true(check: Any, what: str) -> None:
    """Returns once the check is true."""
    wait_until(check, timeout_sec=DEADLINE_SEC, backoff_sec=0.2, err_msg=f"not within {DEADLINE_SEC} s: {what}")
