"""Specs that are neither fault nor workload."""

from trogdor.spec.base import Spec
from trogdor.topology import Topology


class NoOpTaskSpec(Spec, name="org.apache.kafka.trogdor.task.NoOpTaskSpec"):
    """Does nothing, on every node that has an agent: shows that the way down works."""

    def target_nodes(self, topology: Topology) -> list[str]:
        return topology.agents()
