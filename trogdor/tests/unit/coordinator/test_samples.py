"""What the coordinator tells and keeps of workloads while they run."""

from typing import Any

import aiohttp

from trogdor.timeline.samples import Sample
from unit.coordinator.conftest import Cluster

LOAD = {"class": "ExternalCommandSpec", "commandNode": "node0", "command": ["true"], "durationMs": 600_000}


async def running(pair: Cluster) -> int:
    """The id of a workload's worker that has fired."""
    await pair.client.create_task("load", LOAD)
    agent = pair.agents["node0"]
    await pair.until(lambda: agent.fired)
    return agent.fired[0]


async def samples(pair: Cluster, count: int) -> list[dict[str, Any]]:
    assert pair.coordinator
    events = pair.coordinator.tasks.events

    def found() -> list[dict[str, Any]]:
        return [event for event in events.recent if event["type"] == "sample"]

    await pair.until(lambda: len(found()) >= count)
    return found()


async def page(pair: Cluster, path: str) -> str:
    assert pair.coordinator
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{pair.coordinator.port}{path}") as answer,
    ):
        assert answer.status == 200
        return await answer.text()


async def test_a_running_workload_is_sampled_and_drawn_on_the_page_and_in_the_report(pair: Cluster) -> None:
    worker = await running(pair)
    agent = pair.agents["node0"]
    agent.report(worker, {"totalSent": 100, "averageLatencyMs": 2.0})
    (first,) = await samples(pair, 1)
    assert (first["taskId"], first["node"], first["count"], first["averageLatencyMs"]) == ("load", "node0", 100.0, 2.0)
    agent.end(worker)
    await pair.done("load")
    assert pair.coordinator
    task = pair.coordinator.tasks.by_id["load"]
    track = task.workers["node0"].track
    assert track is not None
    track.add(Sample(first["atMs"] + 1000.0, 1000.0, 2.0))
    assert "load node0: at most" in await page(pair, "/page/timeline?width=1000&begin=0")
    pair.coordinator.tasks.events.emit("sample", taskId="load", node="node0", count=1000.0)
    assert "load node0: at most" in await page(pair, "/page/report?taskId=load")


async def test_reports_that_come_at_once_make_one_sample_and_a_fault_makes_none(pair: Cluster) -> None:
    worker = await running(pair)
    for sent in range(50):
        pair.agents["node0"].report(worker, {"totalSent": sent})
    await samples(pair, 1)
    await pair.client.create_task("after", {"class": "NoOpTaskSpec", "durationMs": 1})
    await pair.done("after")  # its events come after those of all fifty
    assert len(await samples(pair, 1)) <= 1 + 2


async def test_samples_and_marks_are_there_after_a_restart(pair: Cluster) -> None:
    worker = await running(pair)
    pair.agents["node0"].report(worker, {"totalSent": 100})
    await samples(pair, 1)
    await pair.client.mark("deploy")
    await pair.crash()
    await pair.start()
    assert pair.coordinator
    track = pair.coordinator.tasks.by_id["load"].workers["node0"].track
    assert track is not None
    assert [sample.total for sample in track] == [100.0]
    assert [mark["text"] for mark in pair.coordinator.tasks.events.marks if mark["type"] == "mark"] == ["deploy"]
