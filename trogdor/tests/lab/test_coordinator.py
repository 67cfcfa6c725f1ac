"""A coordinator and its agents on lab nodes: killed, cut off, stopped around the instant. Times are not asserted."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from lab.agents import SOURCE, until
from trogdor.client import Client, Task
from trogdor.lab import Lab
from trogdor.lab.node import NodeProcess

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("coordinator")]

DEADLINE_S = 90.0
LONG_MS = 600_000
NOOP = {"class": "NoOpTaskSpec"}
HALVES = {"class": "NetworkPartitionFaultSpec", "partitions": [["n1"], ["n2"]]}


class Running:
    """A lab with its daemons up, all met."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.daemons: dict[str, NodeProcess] = lab.start_daemons()

    @property
    def client(self) -> Client:
        return Client(self.lab.target, DEADLINE_S)

    def meet(self) -> None:
        until(lambda: all(node["up"] for node in self.client.nodes().values()))

    def restart(self, name: str) -> None:
        """Kills a node's daemon and starts it again."""
        self.kill(name)
        self.start(name)

    def kill(self, name: str) -> None:
        self.daemons[name].send_signal(signal.SIGKILL)
        self.daemons[name].wait(30)

    def start(self, name: str) -> None:
        self.daemons[name] = self.lab.start_daemon(name)
        self.meet()

    def arrives(self, source: str, target: str) -> bool:
        """Whether a packet of our own gets from one node to another."""
        with closing(self.lab.node(target).socket(type=socket.SOCK_DGRAM)) as receiver:
            receiver.bind(("0.0.0.0", 0))
            receiver.settimeout(0.3)
            with closing(self.lab.node(source).socket(type=socket.SOCK_DGRAM)) as sender:
                sender.sendto(b"x", (self.lab.node(target).address, receiver.getsockname()[1]))
                try:
                    return receiver.recv(1) == b"x"
                except TimeoutError:
                    return False

    def parted(self) -> bool:
        return not self.arrives("n1", "n2") and not self.arrives("n2", "n1")

    def whole(self) -> bool:
        return self.arrives("n1", "n2") and self.arrives("n2", "n1")


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with Lab(nodes=3) as lab:
        yield Running(lab)


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    """With no task at its beginning, and none at its end."""
    made = running.client
    yield made
    made.heal()
    for task_id in made.tasks():
        made.destroy_task(task_id)
    until(running.whole)


def now_ms() -> int:
    return int(time.time() * 1000)


def is_armed(event: dict[str, Any], task_id: str) -> bool:
    return event["type"] == "worker" and event["taskId"] == task_id and event["state"] == "ARMED"


def done(client: Client, task_id: str) -> Task:
    return client.wait_for_done(task_id, DEADLINE_S)


def test_a_coordinator_killed_under_a_fault_finds_it_ended_on_time(running: Running, client: Client) -> None:
    client.create_task("p", {**HALVES, "durationMs": 4000})
    until(running.parted)
    running.restart("coordinator")
    task = done(running.client, "p")
    assert "error" not in task
    assert {node: status["undoneBy"] for node, status in task["status"].items()} == {"n1": "end", "n2": "end"}
    assert running.whole()


def test_a_coordinator_killed_before_the_instant_still_has_its_fault_carried_out(
    running: Running, client: Client
) -> None:
    client.create_task("ahead", {**HALVES, "startMs": now_ms() + 8000, "durationMs": 1000})
    until(lambda: {event["node"] for event in client.events() if is_armed(event, "ahead")} == {"n1", "n2"})
    running.restart("coordinator")
    task = done(running.client, "ahead")
    assert "error" not in task
    assert {status["verdict"] for status in task["status"].values()} <= {"seen"}
    assert running.whole()


def test_an_agent_killed_in_a_partition_ends_it_for_all(running: Running, client: Client) -> None:
    client.create_task("p", {**HALVES, "durationMs": LONG_MS})
    until(running.parted)
    running.restart("n1")
    task = done(client, "p")
    assert "agent restarted; fault ended at" in task["error"]
    assert running.whole()


def test_a_node_that_is_cut_off_does_not_wedge_its_task_and_heals_itself(running: Running, client: Client) -> None:
    node = running.lab.node("n1")
    routes = [["ip", "route"], ["ip", "-6", "route"]]
    targets = [node.address, *([node.address6] if node.address6 else [])]
    client.create_task("p", {**HALVES, "durationMs": 3000})
    until(running.parted)
    try:
        for route, target in zip(routes, targets, strict=False):
            running.lab.coordinator.exec([*route, "add", "blackhole", target], check=True)
        task = done(client, "p")
        assert "node n1 not seen since" in task["error"]
        assert "its fault may last until" in task["error"]
        assert running.whole()
    finally:
        for route, target in zip(routes, targets, strict=False):
            running.lab.coordinator.exec([*route, "del", "blackhole", target], check=True)
    running.meet()


HOLD = """
import sys, time
from trogdor.client import Client
client = Client(sys.argv[1])
with client.lease() as lease:
    client.create_task("leased", {"class": "NetworkPartitionFaultSpec", "durationMs": 600000,
                                  "partitions": [["n1"], ["n2"]]}, lease)
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_client_killed_takes_its_fault_with_it(running: Running, client: Client) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, running.lab.target],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.fspath(SOURCE)},
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        until(running.parted)
        holder.kill()
    assert done(client, "leased")["cancelled"] is True
    assert running.whole()


def test_a_client_that_is_cut_off_takes_its_fault_with_it(running: Running, client: Client) -> None:
    node, target = running.lab.node("n3"), running.lab.coordinator.address
    environment = {**os.environ, "PYTHONPATH": os.fspath(SOURCE)}
    command = [sys.executable, "-c", HOLD, f"{target}:8889"]
    with closing(node.popen(command, stdout=subprocess.PIPE, env=environment)) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        until(running.parted)
        node.exec(["ip", "route", "add", "blackhole", target], check=True)
        try:
            assert done(client, "leased")["cancelled"] is True
        finally:
            node.exec(["ip", "route", "del", "blackhole", target], check=True)
    running.meet()


@pytest.mark.parametrize("end", ["stop_task", "destroy_task"])
def test_stopped_or_destroyed_around_the_instant_nothing_is_left(running: Running, client: Client, end: str) -> None:
    for offset_ms in (-20, -10, -5, 0, 5, 10, 20):
        task_id = f"p{offset_ms}"
        start_ms = now_ms() + 500
        client.create_task(task_id, {**HALVES, "startMs": start_ms, "durationMs": LONG_MS})
        time.sleep(max(0, (start_ms + offset_ms - now_ms()) / 1000))
        getattr(client, end)(task_id)
        if end == "stop_task":
            task = done(client, task_id)
            assert "error" not in task, offset_ms
        until(running.whole)
        assert not any(running.lab.agent_client(name).faults()["faults"] for name in running.lab.nodes), offset_ms


def test_fifty_short_tasks_on_every_node_all_succeed(running: Running, client: Client) -> None:
    for number in range(50):
        client.create_task(f"t{number}", {**NOOP, "durationMs": 100}, check=False)
    tasks = {f"t{number}": done(client, f"t{number}") for number in range(50)}
    assert {task_id: task["error"] for task_id, task in tasks.items() if task.get("error")} == {}
    assert all(task["status"] == dict.fromkeys(("n1", "n2", "n3"), "done") for task in tasks.values())


def test_sigterm_ends_every_fault_and_exits(running: Running, client: Client) -> None:
    client.create_task("p", {**HALVES, "durationMs": LONG_MS})
    client.create_task("later", {**NOOP, "startMs": 4102444800000, "durationMs": 1})
    until(running.parted)
    running.daemons["coordinator"].send_signal(signal.SIGTERM)
    assert running.daemons["coordinator"].wait(60) == 0
    assert running.whole()
    assert "SIGTERM" in running.lab.coordinator.log("coordinator")
    running.start("coordinator")
    tasks = running.client.tasks()
    assert (tasks["p"]["state"], tasks["later"]["state"]) == ("DONE", "PENDING")
