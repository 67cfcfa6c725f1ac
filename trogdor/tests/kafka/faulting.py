"""A cluster under a fault: what is in force, what is seen of it from outside, and that nothing acknowledged is lost."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trogdor.client import Client
from trogdor.lab.lab import Lab
from trogdor.lab.recipes.kafka import Kafka, KafkaError
from trogdor.lab.recipes.kafka_ledger import Ledger
from trogdor.lab.recipes.zookeeper import Zookeeper

from .conftest import resolve, until

FAULT_MS = 600_000
"""Longer than any test: each ends its fault itself."""

TOPIC = "kept"
"""Its partition has three replicas, two of which must have each message."""


@dataclass(frozen=True)
class Cluster:
    """Three brokers, in KRaft or with ZooKeeper, an agent beside each."""

    lab: Lab
    kafka: Kafka
    ledger: Ledger
    zookeeper: Zookeeper | None
    client: Client

    def but(self, name: str) -> list[str]:
        """The other brokers."""
        return [other for other in self.kafka.brokers if other != name]

    def servers(self, names: list[str]) -> str:
        """Brokers as clients name them."""
        return ",".join(f"{name}:9092" for name in names)

    def controller(self, without: str = "") -> tuple[str, int]:
        """The active controller's node and its epoch, as all but one tell it; empty at a moment without."""
        whom = {"bootstrapServers": self.servers(self.but(without))}
        if self.zookeeper:
            whom = {"zookeeper": self.zookeeper.connect}
        found = resolve(self.lab, "controller", **whom)
        return next(iter(found.get("nodes", [])), ""), found.get("epoch") or 0

    def leader(self, without: str = "") -> str | None:
        """The leader of the ledger's partition, as all but one tell it."""
        try:
            return self.kafka.leader(TOPIC, without=[without])
        except KafkaError:
            return None

    def registered(self, without: str) -> list[str]:
        """The brokers that the cluster has, as all but one tell it."""
        return sorted(resolve(self.lab, "brokers", bootstrapServers=self.servers(self.but(without))).get("nodes", []))

    def processes(self, name: str) -> list[int]:
        """The broker's processes on a node; more than one only while it is started again."""
        running = self.lab.node(name).processes()
        return [each.pid for each in running if each.command.endswith("server.properties") and each.state != "Z"]

    def is_whole(self) -> bool:
        """Whether every broker says that every replica is in sync."""
        try:
            return all(len(self.kafka.in_sync(TOPIC, without=self.but(name))) == 3 for name in self.kafka.brokers)
        except KafkaError:
            return False

    @contextmanager
    def losing_nothing(self) -> Iterator[None]:
        """Writes with acks=all from before the block until all is well after it, and misses no acknowledged message."""
        until(self.is_whole, "every replica is in sync")
        with self.ledger.running():
            self.await_acknowledged()
            yield
            until(self.is_whole, "every replica is in sync again")
            self.await_acknowledged()
        lost = self.ledger.lost()
        assert not lost, f"{len(lost)} acknowledged messages are lost: {lost[:20]} …"

    def await_acknowledged(self) -> None:
        """Waits until messages are acknowledged, from now on."""
        before = len(self.ledger.acknowledged())
        until(lambda: len(self.ledger.acknowledged()) > before, "messages are acknowledged")

    @contextmanager
    def fault(self, task_id: str, name: str, **fields: Any) -> Iterator[list[dict[str, Any]]]:
        """A fault of Kafka while the block runs: the specs of its children, once they are in force."""
        self.client.create_task(task_id, {"class": name, "durationMs": FAULT_MS, **fields})

        def in_force() -> bool:
            task = self.client.task(task_id)
            assert not task.get("error"), task["error"]
            children = self.client.children(task_id).values()
            return bool(children) and all(_is_in_force(child.get("status")) for child in children)

        try:
            until(in_force, f"{name} is in force")
            yield [child["spec"] for child in self.client.children(task_id).values()]
        finally:
            self.client.stop_task(task_id)
            until(lambda: self.client.task(task_id)["state"] == "DONE", f"{name} is over")
        assert not self.client.task(task_id).get("error")


def _is_in_force(status: Any) -> bool:
    """Whether every node's probe has looked; what it cannot tell at this load, the cluster will."""
    if not isinstance(status, dict):
        return False
    if "verdict" in status:
        return str(status["verdict"]).startswith(("seen", "unverified"))
    return bool(status) and all(map(_is_in_force, status.values()))
