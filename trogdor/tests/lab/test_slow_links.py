"""Slow links through coordinator and agents: seen by the probes of the receiving end, and found out when they fail."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab.waiting import forget_all
from trogdor.client import Client, Task
from trogdor.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("slow_links")]

DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def slow_lab() -> Iterator[Lab]:
    with Lab(nodes=2) as lab:
        lab.start_daemons()
        yield lab


@pytest.fixture
def client(slow_lab: Lab) -> Iterator[Client]:
    with slow_lab.client() as client:
        yield client
        forget_all(client)


def until(client: Client, task_id: str, holds: Callable[[Task], bool]) -> Task:
    end = time.monotonic() + DEADLINE_S
    while not holds(task := client.task(task_id)):
        assert time.monotonic() < end, task
        time.sleep(0.05)
    return task


def done(task: Task) -> bool:
    return task["state"] == "DONE"


def slow(client: Client, duration_ms: int, lead_ms: int = 3000, **link: Any) -> dict[str, Any]:
    """n1 → n2, ahead of its instant so that a busy machine has its baseline too."""
    start_ms = client.uptime()["nowMs"] + lead_ms
    links = [{"from": "n1", "to": "n2", **link}]
    return {"class": "DegradedLinksFaultSpec", "startMs": start_ms, "durationMs": duration_ms, "links": links}


def test_a_delay_is_seen_to_begin_and_to_end(client: Client, slow_lab: Lab) -> None:
    client.create_task("delay", slow(client, 3000, delayMs=300))
    task = until(client, "delay", done)
    assert not task.get("error")
    status: Any = task["status"]
    assert status["verdict"] == "seen", status
    assert status["askedStartMs"] <= status["seenStartMs"] < status["seenEndMs"]
    assert status["undoneBy"] == "end"
    assert "TROGDOR" not in slow_lab.nodes["n2"].exec(["iptables-save"]).stdout


def test_a_delay_that_somebody_undoes_is_an_error(client: Client, slow_lab: Lab) -> None:
    client.create_task("undone", slow(client, 120_000, delayMs=300))
    until(client, "undone", lambda task: isinstance(task["status"], dict) and task["status"]["verdict"] == "seen")
    for family in ("iptables", "ip6tables"):
        slow_lab.nodes["n2"].exec([family, "-t", "raw", "-D", "PREROUTING", "1"], check=True)
    task = until(client, "undone", done)
    assert "beacons come as fast as before" in str(task.get("error"))


def test_the_loss_of_everything_is_seen_and_its_undoing_by_somebody_an_error(client: Client, slow_lab: Lab) -> None:
    client.create_task("lost", slow(client, 120_000, lossPercent=100))
    until(client, "lost", lambda task: isinstance(task["status"], dict) and task["status"]["verdict"] == "seen")
    slow_lab.nodes["n2"].exec(["iptables", "-t", "raw", "-D", "PREROUTING", "1"], check=True)
    assert "again" in str(until(client, "lost", done).get("error"))


@pytest.mark.parametrize(
    "what",
    [
        {"rateKbit": 1000},
        {"lossPercent": 60},
        {"corruptPercent": 60},
        {"duplicatePercent": 60},
        {"jitterMs": 200, "protocol": "udp"},
        {"delayMs": 300, "reorderPercent": 70},
        {"delayMs": 150, "lossPercent": 40, "protocol": "tcp", "ports": ["9092"]},
        {"delayMs": 300, "duplicatePercent": 60, "protocol": "icmp"},
    ],
    ids=str,
)
def test_whatever_is_done_to_a_link_is_seen_to_begin_and_to_end(client: Client, what: dict[str, Any]) -> None:
    client.create_task("degraded", slow(client, 120_000, lead_ms=1500, **what))
    status: Any = until(client, "degraded", lambda task: verdict(task) not in (None, "armed"))["status"]
    assert (status["verdict"], status["notes"]) == ("seen", [])
    client.stop_task("degraded")
    task = until(client, "degraded", done)
    ended: Any = task["status"]
    assert not task.get("error")
    assert ended["seenEndMs"] is not None


def verdict(task: Task) -> Any:
    status: Any = task["status"]
    return status["verdict"] if isinstance(status, dict) else None


def test_upstreams_latency_and_rate_of_a_device_are_seen_by_those_reached_by_it(client: Client) -> None:
    start_ms = client.uptime()["nowMs"] + 1500
    device = {"networkDevice": "eth0", "latencyMs": 100, "rateLimitKbit": 1000}
    node_specs = dict.fromkeys(("n1", "n2"), device)
    upstreams = {"class": "DegradedNetworkFaultSpec", "startMs": start_ms, "durationMs": 120_000}
    client.create_task("device", {**upstreams, "nodeSpecs": node_specs})
    task: Any = until(client, "device", lambda task: all(each != "armed" for each in verdicts(task)))
    if "netem" not in str(task["status"]):
        assert verdicts(task) == ["seen", "seen"], task
    client.stop_task("device")
    assert not until(client, "device", done).get("error")


def verdicts(task: Task) -> list[Any]:
    status: Any = task["status"]
    of_nodes = [status[name] if isinstance(status, dict) else None for name in ("n1", "n2")]
    return [each["verdict"] if isinstance(each, dict) else "armed" for each in of_nodes]


def test_a_rate_too_fast_for_trains_is_said_to_be_unverified(client: Client) -> None:
    client.create_task("rate", slow(client, 500, lead_ms=500, rateKbit=1_000_000))
    status: Any = until(client, "rate", done)["status"]
    assert status["verdict"].startswith("unverified: rates are probed from 250 to 10000 kbit/s")
    assert status["targets"] == ["n1 → n2: at most 1000000 kbit/s (htb)"]
