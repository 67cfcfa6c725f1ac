"""A coordinator killed before and after every commit of its store, one after the other, until none is left.

Whatever it has answered it still knows; no worker starts twice; the task's end is told, and its agents forget it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from lab.deadly import FORKS, When, coordinate
from trogdor.client import AsyncClient, ClientError
from unit.coordinator.stand_in import StandIn

DEADLINE_S = 60.0
NAMES = ("node0", "node1")
SPEC = {"class": "NoOpTaskSpec", "startMs": 0, "durationMs": 600_000}
LEAST_COMMITS = 5
"""Of a task that is made, runs, is stopped and destroyed; more when what happens does not fall together."""
MOST_COMMITS = 60


@asynccontextmanager
async def coordinator(
    state: Path, agents: dict[str, StandIn], when: When = "before", number: int = 0
) -> AsyncIterator[tuple[ForkServerProcess, AsyncClient]]:
    ports = {name: agent.port for name, agent in agents.items()}
    process = FORKS.Process(target=coordinate, args=(state, ports, when, number))
    process.start()
    client = AsyncClient(f"unix:{state}/coordinator.sock", deadline_s=DEADLINE_S)
    try:
        yield process, client
    finally:
        await client.close()
        process.kill()
        process.join()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not await holds():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.01)


async def answers(process: ForkServerProcess, client: AsyncClient) -> bool:
    """Whether it answers, once it does or is dead."""

    async def decided() -> bool:
        try:
            await client.status()
        except ClientError:
            return not process.is_alive()
        return True

    await until(decided)
    return process.is_alive()


async def lead(client: AsyncClient, answered: list[str]) -> None:
    """A task from its making to its end; notes what was answered. Raises ClientError when the coordinator dies."""

    async def in_state(state: str) -> bool:
        return (await client.task("t"))["state"] == state

    await client.create_task("t", SPEC, check=False)
    answered.append("created")
    await until(lambda: in_state("RUNNING"))
    await client.stop_task("t")
    answered.append("stopped")
    await until(lambda: in_state("DONE"))
    assert "error" not in await client.task("t")
    answered.append("done")
    await client.destroy_task("t")
    answered.append("destroyed")


async def killed_at(when: When, number: int, state: Path) -> bool:
    """Has a coordinator die there, and the next one see it through. False when it lived."""
    agents = {name: StandIn(name) for name in NAMES}
    for agent in agents.values():
        await agent.start()
    answered: list[str] = []
    try:
        async with coordinator(state, agents, when, number) as (process, client):
            if await answers(process, client):
                with suppress(ClientError):
                    await lead(client, answered)
                    await until(lambda: forgotten_or_dead(agents, process))
                    await client.mark("all is on disk")
                    return False
            await until(lambda: ended(process))
        async with coordinator(state, agents) as (process, client):
            assert await answers(process, client)
            known = await client.tasks()
            assert "t" not in known or "destroyed" not in answered
            assert "t" in known or "created" not in answered or "done" in answered, answered
            if "stopped" in answered and "t" in known:
                assert known["t"]["state"] in ("STOPPING", "DONE")
            if "t" in known or "created" not in answered:
                await see_through(client)
            await until(lambda: forgotten_or_dead(agents, process))
            assert process.is_alive()
        fired = [agent.fired for agent in agents.values()]
        assert all(len(ids) <= 1 for ids in fired), fired
    finally:
        for agent in agents.values():
            await agent.kill()
    return True


async def see_through(client: AsyncClient) -> None:
    """What a client does whose coordinator is back: asks again, which is no error, and ends what there is."""
    await client.create_task("t", SPEC, check=False)

    async def began() -> bool:
        return (await client.task("t"))["state"] != "PENDING"

    await until(began)
    await client.stop_task("t")
    done = await client.wait_for_done("t", DEADLINE_S)
    assert "error" not in done
    await client.destroy_task("t")


async def ended(process: ForkServerProcess) -> bool:
    return not process.is_alive()


async def forgotten_or_dead(agents: dict[str, StandIn], process: ForkServerProcess) -> bool:
    return not any(agent.workers for agent in agents.values()) or not process.is_alive()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_at_any_commit_a_task_is_carried_on_and_nothing_starts_twice(when: When, tmp_path: Path) -> None:
    number = 1
    while await killed_at(when, number, tmp_path / str(number)):
        number += 1
        assert number < MOST_COMMITS
    assert number > LEAST_COMMITS, f"only {number - 1} commits were reached"
