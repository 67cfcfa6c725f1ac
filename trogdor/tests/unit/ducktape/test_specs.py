"""What the spec classes send is what the coordinator reads."""

from types import SimpleNamespace

import pytest

from trogdor.ducktape.consume_bench_workload import ConsumeBenchWorkloadSpec
from trogdor.ducktape.degraded_network_fault_spec import DegradedNetworkFaultSpec
from trogdor.ducktape.files_unreadable_fault_spec import FilesUnreadableFaultSpec
from trogdor.ducktape.network_partition_fault_spec import NetworkPartitionFaultSpec
from trogdor.ducktape.no_op_task_spec import NoOpTaskSpec
from trogdor.ducktape.process_stop_fault_spec import ProcessStopFaultSpec
from trogdor.ducktape.produce_bench_workload import ProduceBenchWorkloadSpec
from trogdor.ducktape.round_trip_workload import RoundTripWorkloadSpec
from trogdor.ducktape.task_spec import TaskSpec
from trogdor.spec import parse

N1 = SimpleNamespace(name="n1")
DEGRADED = DegradedNetworkFaultSpec(0, 1000)
DEGRADED.add_node_spec("n1", "eth0", latencyMs=50, rateLimitKbit=1000)
TOPICS = {"foo[1-3]": {"numPartitions": 2, "replicationFactor": 1}}


@pytest.mark.parametrize(
    "spec",
    [
        NoOpTaskSpec(0, 1000),
        NetworkPartitionFaultSpec(0, 1000, [[N1], ["n2", "n3"]]),
        ProcessStopFaultSpec(0, 1000, [N1, "n2"], "kafka.Kafka"),
        DEGRADED,
        FilesUnreadableFaultSpec(0, 1000, [N1], "/mnt/kibosh", "/kafka-logs", 5),
        ProduceBenchWorkloadSpec(0, 1000, "n1", "n2:9092", 10, 100, {}, {}, {}, {}, TOPICS),
        ConsumeBenchWorkloadSpec(0, 1000, "n1", "n2:9092", 10, 100, ["foo[1-3]"], {}, {}, {}, "group", 2),
        RoundTripWorkloadSpec(0, 1000, "n1", "n2:9092", 10, 100, TOPICS),
    ],
    ids=lambda spec: type(spec).__name__,
)
def test_each_field_is_read_as_it_was_meant(spec: TaskSpec) -> None:
    read = parse(spec.message).to_json()
    assert {key: read.get(key) for key, value in spec.message.items() if value and key != "class"} == {
        key: value for key, value in spec.message.items() if value and key != "class"
    }
