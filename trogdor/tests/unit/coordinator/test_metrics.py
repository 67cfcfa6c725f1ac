"""What Prometheus is told, in the words of its own parser."""

import subprocess
import sys
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from trogdor.metrics import FaultFigures, response
from unit.coordinator.conftest import Cluster


def read(text: str) -> dict[str, float]:
    """Every sample by its name and labels: ``trogdor_tasks{state=DONE}``."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sample.labels.items())
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


async def scrape(port: int) -> dict[str, float]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return read(await answer.text())


async def test_the_coordinator_tells_of_tasks_agents_clocks_and_its_store(pair: Cluster) -> None:
    assert pair.coordinator
    await pair.client.create_task("over", {"class": "NoOpTaskSpec", "durationMs": 1})
    await pair.done("over")
    await pair.client.create_task("ahead", {"class": "NoOpTaskSpec", "startMs": 4102444800000, "durationMs": 1})
    await pair.agents["node1"].kill()
    await pair.until(lambda: not pair.coordinator.tasks.agents["node1"].up)  # type: ignore[union-attr]
    told = await scrape(pair.coordinator.port)
    assert told["trogdor_tasks{state=DONE}"] == 1
    assert told["trogdor_tasks{state=PENDING}"] == 1
    assert told["trogdor_tasks{state=RUNNING}"] == 0
    assert (told["trogdor_agent_up{node=node0}"], told["trogdor_agent_up{node=node1}"]) == (1, 0)
    assert abs(told["trogdor_agent_clock_offset_seconds{node=node0}"]) < 60
    assert told["trogdor_store_bytes"] > 0
    assert (told["trogdor_store_failing"], told["trogdor_store_refused_total"]) == (0, 0)
    assert told["trogdor_events_total"] >= 2
    assert told["process_resident_memory_bytes"] > 0


def fault(verdict: str = "seen", **fields: Any) -> dict[str, Any]:
    return {"verdict": verdict, "askedStartMs": 1000.0, "askedEndMs": 2000.0, **fields}


def test_lateness_is_counted_by_what_was_seen_and_only_of_faults_that_ran_their_time() -> None:
    figures = FaultFigures()
    figures.over(fault(seenStartMs=1003.0, seenEndMs=2040.0, undoneBy="end"))
    figures.over(fault(seenStartMs=1000.0, seenEndMs=1500.0, undoneBy="stop"))
    figures.over(fault("not seen: it still answers"))
    figures.over({"totalSent": 5})
    figures.over(None)
    told = read(bytes(response(figures.families()).body).decode())
    assert told["trogdor_fault_start_lag_seconds_count"] == 2
    assert told["trogdor_fault_start_lag_seconds_bucket{le=0.005}"] == 2
    assert told["trogdor_fault_start_lag_seconds_bucket{le=0.001}"] == 1
    assert told["trogdor_fault_heal_lag_seconds_count"] == 1
    assert told["trogdor_fault_heal_lag_seconds_bucket{le=0.02}"] == 0
    assert told["trogdor_fault_heal_lag_seconds_bucket{le=0.05}"] == 1
    assert told["trogdor_fault_verdicts_total{verdict=seen}"] == 2
    assert told["trogdor_fault_verdicts_total{verdict=not seen}"] == 1


def test_a_daemon_that_nobody_scrapes_never_loads_the_library() -> None:
    code = "import sys, trogdor.agent.daemon, trogdor.coordinator.daemon; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
