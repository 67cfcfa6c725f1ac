"""Client leases, the stream of events, and Java agents, as their users notice them."""

import asyncio
from typing import Any

import aiohttp
import pytest

from trogdor.client import AsyncClient, Client, NotFound, Refused, calls
from trogdor.coordinator import java, leases
from unit.coordinator.conftest import DEADLINE_S, Cluster
from unit.coordinator.stand_in import StandIn

LONG_MS = 600_000


def noop(**fields: Any) -> dict[str, Any]:
    return {"class": "NoOpTaskSpec", **fields}


async def test_leaving_the_block_ends_its_tasks_and_no_others(pair: Cluster) -> None:
    await pair.client.create_task("other", noop(durationMs=LONG_MS))
    async with pair.client.lease() as lease:
        await pair.client.create_task("t", noop(durationMs=LONG_MS), lease)
        await pair.in_state("t", "RUNNING")
    assert (await pair.client.task("t"))["state"] == "DONE"
    await pair.in_state("other", "RUNNING")


async def test_the_sync_client_holds_a_lease_alike(pair: Cluster) -> None:
    def use() -> str:
        with Client(pair.client.target, DEADLINE_S) as client, client.lease() as lease:
            client.create_task("t", noop(durationMs=LONG_MS), lease)
            return client.task("t")["state"]

    assert await asyncio.to_thread(use) in ("PENDING", "RUNNING")
    assert (await pair.client.task("t"))["state"] == "DONE"


async def test_a_client_that_is_gone_takes_its_tasks_with_it(pair: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "GRACE_S", 0.3)
    gone = AsyncClient(pair.client.target)
    lease = gone.lease()
    await lease.__aenter__()
    await gone.create_task("t", noop(durationMs=LONG_MS), lease)
    lease_id = lease.id
    lease._holder.cancel()  # type: ignore[union-attr]
    await gone.close()
    task = await pair.done("t")
    assert task["cancelled"] is True
    with pytest.raises(Refused, match="has ended"):
        await pair.client._connection.send(calls.create_task("u", noop(), lease_id))


async def test_a_lease_comes_back_after_the_coordinator_does(pair: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RESTART_GRACE_S", DEADLINE_S)
    async with pair.client.lease() as lease:
        await pair.client.create_task("t", noop(durationMs=LONG_MS), lease)
        await pair.in_state("t", "RUNNING")
        await pair.crash()
        await pair.start()
        assert pair.coordinator
        held = pair.coordinator.leases
        assert held._ending.keys() == {lease.id}
        await pair.until(lambda: lease.id in held._held)
        assert not held._ending
        assert (await pair.client.task("t"))["state"] == "RUNNING"
    assert (await pair.done("t"))["cancelled"] is True


async def test_an_unknown_lease_is_refused(pair: Cluster) -> None:
    with pytest.raises(NotFound):
        async for _ in pair.client._connection.stream(calls.lease("nope"), 5):
            pass


async def test_events_come_in_order_once_each_and_can_be_taken_up_anywhere(pair: Cluster) -> None:
    await pair.client.mark("before")
    followed: list[dict[str, Any]] = []

    async def follow() -> None:
        async for event in pair.client.follow(after=0):
            followed.append(event)
            if event["type"] == "mark" and event["text"] == "after":
                return

    following = asyncio.create_task(follow())
    await pair.client.create_task("t", noop(durationMs=1))
    await pair.done("t")
    await pair.client.mark("after")
    await asyncio.wait_for(following, DEADLINE_S)
    assert [event["seq"] for event in followed] == list(range(1, len(followed) + 1))
    assert followed == await pair.client.events(limit=len(followed))
    states = [event["state"] for event in followed if event["type"] == "task"]
    assert states == ["PENDING", "RUNNING", "DONE"]
    assert await pair.client.events(after=followed[-2]["seq"], limit=1) == [followed[-1]]


async def test_a_report_on_a_late_task_has_its_marks(pair: Cluster) -> None:
    assert pair.coordinator
    for _ in range(12_000):
        pair.coordinator.tasks.events.emit("filler")
    await pair.client.create_task("t", noop(durationMs=1))
    await pair.client.mark("it is now")
    await pair.done("t")
    url = f"http://127.0.0.1:{pair.coordinator.port}/page/report?taskId=t"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert "it is now" in await response.text()


async def test_an_agent_of_ours_in_the_place_of_a_java_one_is_met_between_two_looks(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cluster.add("node0", java=True)
    await cluster.start()
    await cluster.met()
    assert (await cluster.client.nodes())["node0"]["kind"] == "java"
    before = cluster.agents["node0"]
    monkeypatch.setattr(java, "POLL_S", 0.3)
    await before.kill()
    after = cluster.agents["node0"] = StandIn("node0")
    after.port = before.port
    await after.start()
    assert cluster.coordinator
    await cluster.until(lambda: cluster.coordinator.tasks.agents["node0"].kind == "own")  # type: ignore[union-attr]
    await cluster.met()


async def test_a_java_agent_is_told_at_the_instant_and_polled(cluster: Cluster) -> None:
    await cluster.add("java", java=True)
    await cluster.start()
    await cluster.met()
    assert (await cluster.client.nodes())["java"]["note"] == "java: TCP only, unverified, outlives its agent"
    await cluster.client.create_task("t", noop(durationMs=300))
    task = await cluster.done("t")
    assert task["status"] == "done"
    await cluster.until(lambda: not cluster.agents["java"].workers)
    assert ("POST", "/agent/worker/create") in cluster.agents["java"].asked


async def test_a_java_agent_is_stopped_too_and_a_task_ahead_is_never_told(cluster: Cluster) -> None:
    await cluster.add("java", java=True)
    await cluster.start()
    await cluster.met()
    await cluster.client.create_task("ahead", noop(startMs=4102444800000, durationMs=300))
    await cluster.client.stop_task("ahead")
    assert (await cluster.client.task("ahead"))["state"] == "DONE"
    await cluster.client.create_task("t", noop(durationMs=LONG_MS))
    await cluster.until(lambda: cluster.agents["java"].fired)
    await cluster.client.stop_task("t")
    assert (await cluster.done("t"))["cancelled"] is True
    assert len(cluster.agents["java"].fired) == 1


async def test_a_java_agent_gets_only_upstreams_classes(cluster: Cluster) -> None:
    await cluster.add("java", java=True)
    await cluster.start()
    await cluster.met()
    pause = {"class": "ProcessPauseFaultSpec", "nodeNames": ["java"], "match": {"name": "etcd"}}
    with pytest.raises(Refused, match=r"spec\.class: node java has a Java agent"):
        await cluster.client.create_task("t", pause, check=False)
