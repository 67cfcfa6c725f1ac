"""Run by ducktape on nodes with sshd: `make test-ducktape`."""

import shlex
from collections.abc import Callable
from typing import Any

from ducktape.cluster.cluster_spec import ClusterSpec
from ducktape.mark.resource import cluster
from ducktape.tests.test import Test
from ducktape.utils.util import wait_until

from trogdor.client import Refused
from trogdor.ducktape.degraded_network_fault_spec import DegradedNetworkFaultSpec
from trogdor.ducktape.network_partition_fault_spec import NetworkPartitionFaultSpec
from trogdor.ducktape.no_op_task_spec import NoOpTaskSpec
from trogdor.ducktape.task_spec import TaskSpec
from trogdor.ducktape.trogdor import TrogdorService

DEADLINE_SEC = 60
SLOW_MS = 400


class TrogdorTest(Test):  # type: ignore[misc]
    """Agents on three nodes of the test's own, the coordinator on a fourth."""

    def __init__(self, test_context: Any) -> None:
        super().__init__(test_context)
        self.agent_nodes = test_context.cluster.alloc(ClusterSpec.simple_linux(3))
        self.trogdor = TrogdorService(test_context, agent_nodes=self.agent_nodes)

    def setup(self) -> None:
        self.trogdor.start()

    def teardown(self) -> None:
        """The service ends, and frees its own node; these are still ours then."""
        self.trogdor.clean()
        self.trogdor.free()
        for node in self.agent_nodes:
            assert node.account.ssh_output("echo here").strip() == b"here"
            assert not node.account.exists(TrogdorService.PERSISTENT_ROOT)
            node.account.close()
        self.test_context.cluster.free(self.agent_nodes)

    @cluster(num_nodes=4)
    def test_a_task_that_does_nothing(self) -> None:
        task = self.trogdor.create_task("nothing", NoOpTaskSpec(0, TaskSpec.MAX_DURATION_MS))
        wait_until(task.running, timeout_sec=DEADLINE_SEC, backoff_sec=0.1)
        assert self.trogdor.tasks()["tasks"]["nothing"]["state"] == "RUNNING"
        task.stop()
        task.wait_for_done(DEADLINE_SEC)
        assert not task.running()
        wrong = NetworkPartitionFaultSpec(0, 1000, [["nobody"], self.agent_nodes])
        assert "nobody" in refusal(lambda: self.trogdor.create_task("wrong", wrong))
        assert list(self.trogdor.tasks()["tasks"]) == ["nothing"]

    @cluster(num_nodes=4)
    def test_a_partition_is_seen_from_both_sides(self) -> None:
        alone, *others = self.agent_nodes
        everywhere = [(one, two) for one in self.agent_nodes for two in self.agent_nodes]
        assert all(reaches(one, two) for one, two in everywhere)
        spec = NetworkPartitionFaultSpec(0, TaskSpec.MAX_DURATION_MS, [[alone], others])
        with self.trogdor.fault(spec, unverified=True):  # this test looks itself
            for one, two in everywhere:
                cut = one is not two and alone in (one, two)
                assert reaches(one, two) != cut, f"{one.name} → {two.name}"
        assert all(reaches(one, two) for one, two in everywhere)

    @cluster(num_nodes=4)
    def test_a_degraded_network_is_slow_for_its_node_and_for_nobody_else(self) -> None:
        slow, one, two = self.agent_nodes
        spec = DegradedNetworkFaultSpec(0, TaskSpec.MAX_DURATION_MS)
        spec.add_node_spec(slow.name, "eth0", latencyMs=SLOW_MS)
        with self.trogdor.fault(spec, unverified=True):
            assert min(connect_ms(one, slow) for _ in range(3)) >= SLOW_MS
            await_quick(one, two)
        await_quick(one, slow)

    @cluster(num_nodes=4)
    def test_a_stopped_process_stands_still_and_goes_on(self) -> None:
        node = self.agent_nodes[0]
        account = node.account
        pid = int(account.ssh_output("setsid sleep 987654 >/dev/null 2>&1 </dev/null & echo $!"))
        spec = {
            "class": "trogdor.fault.ProcessPauseFaultSpec",
            "durationMs": TaskSpec.MAX_DURATION_MS,
            "nodeNames": [node.name],
            "match": {"pattern": "sleep 987654$"},
        }
        try:
            assert state_of(account, pid) == "S"
            with self.trogdor.fault(spec):
                assert state_of(account, pid) == "T"
            assert state_of(account, pid) == "S"
        finally:
            account.ssh(f"kill -KILL {pid}")


def await_quick(one: Any, two: Any) -> None:
    """Returns once a connection is accepted sooner than over a slow link; on a busy machine not every one is."""
    wait_until(lambda: connect_ms(one, two) < SLOW_MS, timeout_sec=DEADLINE_SEC, backoff_sec=0.1)


def connect_ms(one: Any, two: Any) -> float:
    """How long a connection from one node to the other's sshd takes to be accepted."""
    timed = (
        "import socket, time; began = time.perf_counter(); "
        f"socket.create_connection(({two.account.ssh_hostname!r}, 22), 30); print((time.perf_counter() - began) * 1000)"
    )
    return float(one.account.ssh_output(f"python3 -S -c {shlex.quote(timed)}"))


def refusal(ask: Callable[[], object]) -> str:
    """What the coordinator refuses it with; an empty string if it does not."""
    try:
        ask()
    except Refused as refused:
        return str(refused)
    return ""


def reaches(one: Any, two: Any) -> bool:
    """Whether a TCP connection from one node to the other's sshd is accepted."""
    address = two.account.ssh_hostname
    return bool(one.account.ssh(f"timeout 2 bash -c 'exec 3<>/dev/tcp/{address}/22'", allow_fail=True) == 0)


def state_of(account: Any, pid: int) -> str:
    """The letter of proc(5); S also where it has just gone on and is about to sleep again."""
    letter = str(account.ssh_output(f"sed 's/.*) //' /proc/{pid}/stat").decode().split()[0])
    return "S" if letter == "R" else letter
