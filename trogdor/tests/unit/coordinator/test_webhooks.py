"""Who is told of events by HTTP: what is sent, what is tried again, what is dropped, and that nothing waits for it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from trogdor.coordinator import webhooks
from trogdor.coordinator.daemon import WEBHOOKS, ConfigurationError, settings_of
from trogdor.coordinator.webhooks import Sender, Webhook, read_webhooks
from trogdor.topology import Node, Topology
from unit.coordinator.conftest import DEADLINE_S, Cluster

GRAFANA = {"time": "$atMs", "tags": ["trogdor", "$type", "node:$node"], "text": "$words"}
EVENT = {"seq": 3, "atMs": 1700, "source": "n1", "type": "task", "taskId": "t1", "state": "RUNNING"}


@asynccontextmanager
async def receiver(*answers: int) -> AsyncIterator[tuple[str, list[Any]]]:
    """A server that answers with these codes, then with 200; its address, and the bodies of its requests."""
    bodies: list[Any] = []
    codes = list(answers)

    async def take(request: web.Request) -> web.Response:
        bodies.append((dict(request.headers), await request.json()))
        return web.Response(status=codes.pop(0) if codes else 200)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}/hook", bodies
    finally:
        await runner.cleanup()


async def until(holds: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.005)


def test_a_body_is_filled_in_and_keeps_the_types_of_values() -> None:
    hook = Webhook(url="http://grafana/api/annotations", body=GRAFANA)
    assert hook.body_of(EVENT) == {
        "time": 1700, "tags": ["trogdor", "task", "node:"], "text": "task  t1  RUNNING",
    }  # fmt: skip
    assert Webhook(url="http://x/").body_of(EVENT) == EVENT
    assert not hook.wants({"type": "sample"})
    assert Webhook(url="http://x/", types=("sample",)).wants({"type": "sample"})


def test_wrong_settings_are_told_with_every_problem_before_anything_starts() -> None:
    wrong = json.dumps([{"url": "ftp://x", "bogus": 1}, {"url": 5}])
    with pytest.raises(ValueError, match="bogus") as told:
        read_webhooks(wrong)
    for path in ("[0].url: ", "[0].bogus: ", "[1].url: "):
        assert path in str(told.value)
    node = Node("c", settings={WEBHOOKS: "{"})
    with pytest.raises(ConfigurationError, match=r"nodes\.c\.trogdor\.webhooks: a list"):
        settings_of(Topology({"c": node}), "c")


async def test_events_of_the_coordinator_reach_a_webhook_in_order(cluster: Cluster) -> None:
    async with receiver() as (url, bodies):
        cluster.webhooks = (Webhook(url=url, headers={"Authorization": "Bearer x"}, types=("task",), body=GRAFANA),)
        await cluster.add("node0")
        await cluster.start()
        await cluster.met()
        await cluster.client.create_task("t", {"class": "NoOpTaskSpec", "durationMs": 1})
        await cluster.done("t")
        await until(lambda: len(bodies) >= 3)
    assert [body["text"] for _, body in bodies][:3] == ["task  t  PENDING", "task  t  RUNNING", "task  t  DONE"]
    assert bodies[0][0]["Authorization"] == "Bearer x"


async def test_what_a_receiver_does_not_take_is_tried_again_and_what_it_refuses_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhooks, "FIRST_RETRY_S", 0.01)
    async with receiver(503, 429, 200, 400) as (url, bodies):
        sender = Sender(Webhook(url=url))
        sender.put({**EVENT, "seq": 1})
        sender.put({**EVENT, "seq": 2})
        sender.put({**EVENT, "seq": 3})
        await until(lambda: sender.outcomes.total() == 3)
        await sender.close()
    assert [body["seq"] for _, body in bodies] == [1, 1, 1, 2, 3]
    assert +sender.outcomes == {"sent": 2, "refused": 1}


async def test_a_receiver_that_is_away_costs_its_events_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(webhooks, "MOST_WAITING", 10)
    sender = Sender(Webhook(url="http://127.0.0.1:1/"))
    for _ in range(25):
        sender.put(EVENT)
    assert (sender.waiting, sender.outcomes["full"]) == (10, 15)
    await until(lambda: sender.waiting == 0)
    assert +sender.outcomes == {"full": 15, "unreachable": 10}
    await sender.close()


async def test_a_coordinator_ends_though_a_receiver_hangs(cluster: Cluster) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    cluster.webhooks = (Webhook(url=f"http://127.0.0.1:{port}/"),)
    await cluster.add("node0")
    await cluster.start()
    await cluster.met()
    assert cluster.coordinator
    sender = cluster.coordinator.tasks.events.senders[0]
    assert sender.waiting > 0
    await cluster.crash()
    assert sender._task is None or sender._task.done()
    server.close()
