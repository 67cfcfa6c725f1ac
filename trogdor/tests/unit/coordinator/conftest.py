"""A coordinator in this process, with agents that speak the real wire."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from trogdor.client import AsyncClient, Task
from trogdor.coordinator import nodes, progress
from trogdor.coordinator.daemon import Coordinator, Settings
from trogdor.coordinator.webhooks import Webhook
from trogdor.instant import Clock
from trogdor.topology import Node, Topology
from unit.coordinator.stand_in import StandIn

DEADLINE_S = 60.0
"""Generous: machines are slow and busy. What is expected comes within milliseconds."""


class JumpingClock(Clock):
    """The coordinator's: time passes for it alone, as for one that was down or stopped."""

    def __init__(self) -> None:
        self.passed_ns = 0

    def boot_ns(self) -> int:
        return super().boot_ns() + self.passed_ns

    def wall_ns(self) -> int:
        return super().wall_ns() + self.passed_ns


class Cluster:
    """``n0 …`` with agents, ``c`` with the coordinator, which can be killed and started again."""

    def __init__(self, state: Path, settings: dict[str, str] | None = None) -> None:
        self.state = state
        allowed = json.dumps([sys.executable, "/no/such/program"])
        self.settings = {"trogdor.external.commands": allowed} | (settings or {})
        self.webhooks: tuple[Webhook, ...] = ()
        self.agents: dict[str, StandIn] = {}
        self.coordinator: Coordinator | None = None
        self.clock = JumpingClock()
        self.client = AsyncClient("127.0.0.1:1")

    async def add(self, *names: str, java: bool = False, clock: Clock | None = None) -> None:
        for name in names:
            self.agents[name] = StandIn(name, java=java, clock=clock)
            await self.agents[name].start()

    async def start(self) -> None:
        nodes = {name: Node(name, "127.0.0.1", agent_port=agent.port) for name, agent in self.agents.items()}
        nodes["c"] = Node("c", "127.0.0.1", coordinator_port=0, settings=self.settings)
        settings = Settings(Topology(nodes), nodes["c"], self.state, self.webhooks)
        self.coordinator = Coordinator(settings, self.clock)
        await self.coordinator.start()
        self.client = AsyncClient(f"unix:{self.state}/coordinator.sock", deadline_s=DEADLINE_S)

    async def met(self) -> None:
        """Returns once the coordinator has met every agent."""
        assert self.coordinator
        await self.until(lambda: all(agent.up for agent in self.coordinator.tasks.agents.values()))  # type: ignore[union-attr]

    async def crash(self) -> None:
        """Ends the coordinator without a word to anyone, as SIGKILL does; what is on disk is on disk."""
        assert self.coordinator
        crashed, self.coordinator = self.coordinator, None
        await self.client.close()
        await crashed.close()

    def jump(self, passed_ms: int) -> None:
        """Lets time pass for the coordinator."""
        self.clock.passed_ns += passed_ms * 1_000_000

    async def until(self, what: Callable[[], Any]) -> None:
        end = time.monotonic() + DEADLINE_S
        while not what():
            assert time.monotonic() < end, "waited in vain"
            await asyncio.sleep(0.005)

    async def done(self, task_id: str) -> Task:
        return await self.client.wait_for_done(task_id, DEADLINE_S)

    async def in_state(self, task_id: str, state: str) -> Task:
        end = time.monotonic() + DEADLINE_S
        while (task := await self.client.task(task_id))["state"] != state:
            assert time.monotonic() < end, f"{task_id} is {task}"
            await asyncio.sleep(0.005)
        return task


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a coordinator does again and again it does more often here."""
    monkeypatch.setattr(nodes, "BEAT_S", 0.3)
    monkeypatch.setattr(nodes, "RETRY_S", 0.05)
    monkeypatch.setattr(progress, "LOOK_AGAIN_S", 0.1)
    monkeypatch.setattr(progress, "LONGEST_SLEEP_NS", 50_000_000)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Without agents and not started."""
    made = Cluster(tmp_path / "c")
    yield made
    await made.client.close()
    if made.coordinator:
        await made.coordinator.stop()
    for agent in made.agents.values():
        await agent.kill()


@pytest.fixture
async def pair(cluster: Cluster) -> Cluster:
    """Two nodes, met."""
    await cluster.add("node0", "node1")
    await cluster.start()
    await cluster.met()
    return cluster
