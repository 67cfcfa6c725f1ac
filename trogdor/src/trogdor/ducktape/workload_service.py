"""Nodes for workloads: one that no other service uses, for each."""

from __future__ import annotations

from typing import Any

from ducktape.services.service import Service


class WorkloadService(Service):  # type: ignore[misc]
    """Takes one node, and does nothing there: the agent that TrogdorService runs on it carries the workload."""

    def __init__(self, context: Any, kafka: Any) -> None:
        """``kafka``: whose ``bootstrap_servers`` the workload is to use."""
        super().__init__(context, num_nodes=1)
        self.bootstrap_servers = kafka.bootstrap_servers(validate=False)

    @property
    def _node(self) -> str:
        return str(self.nodes[0].name)

    def wait_node(self, node: Any, timeout_sec: float | None = None) -> bool:
        """Nothing of its own runs there."""
        return True

    def stop_node(self, node: Any, **kwargs: Any) -> None:
        """Nothing of its own runs there."""

    def clean_node(self, node: Any, **kwargs: Any) -> None:
        """Nothing of its own is there."""


class ProduceBenchWorkloadService(WorkloadService):
    """``producer_node``: for ProduceBenchWorkloadSpec."""

    producer_node = WorkloadService._node


class ConsumeBenchWorkloadService(WorkloadService):
    """``consumer_node``: for ConsumeBenchWorkloadSpec."""

    consumer_node = WorkloadService._node


class RoundTripWorkloadService(WorkloadService):
    """``client_node``: for RoundTripWorkloadSpec."""

    client_node = WorkloadService._node
