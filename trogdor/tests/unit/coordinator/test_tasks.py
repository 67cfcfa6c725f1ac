"""What becomes of tasks when agents fail, vanish, come back, and when the coordinator does."""

import asyncio
import sqlite3
from typing import Any

import pytest

from trogdor.client import Conflict, Failed, NotFound, Refused
from trogdor.coordinator import daemon, database, progress, store
from trogdor.coordinator.state import Phase
from trogdor.spec import parse
from unit.coordinator.conftest import Cluster

FAR_MS = 4102444800000
LONG_MS = 600_000
TOO_LARGE = 2**70
"""For a column of 64 bits."""


def noop(**fields: Any) -> dict[str, Any]:
    return {"class": "NoOpTaskSpec", **fields}


def now_ms(cluster: Cluster) -> int:
    assert cluster.coordinator
    return cluster.coordinator.tasks.clock.wall_ms()


def phases(cluster: Cluster, task_id: str) -> dict[str, Phase]:
    assert cluster.coordinator
    task = cluster.coordinator.tasks.by_id[task_id]
    return {node: worker.phase for node, worker in task.workers.items()}


async def test_all_nodes_of_a_task_for_now_get_one_common_instant(pair: Cluster) -> None:
    await pair.client.create_task("t", noop(durationMs=LONG_MS))
    await pair.until(lambda: all(len(agent.workers) == 1 for agent in pair.agents.values()))
    requests = [held.request for agent in pair.agents.values() for held in agent.workers.values()]
    instants = {(request.start_ns + request.wall_offset_ns) // 10_000_000 for request in requests}  # type: ignore[union-attr]
    assert max(instants) - min(instants) <= 1
    assert {request.start_ns for request in requests} != {0}  # type: ignore[union-attr]


async def test_the_offset_of_an_agents_clock_is_taken_into_account(cluster: Cluster) -> None:
    from trogdor.instant import DriftingClock

    await cluster.add("ahead", clock=DriftingClock(3_000_000_000, 100))
    await cluster.add("behind", clock=DriftingClock(-3_000_000_000, -100))
    await cluster.start()
    await cluster.met()
    await cluster.client.create_task("t", noop(durationMs=200))
    task = await cluster.done("t")
    assert task["status"] == {"ahead": "done", "behind": "done"}
    shown = await cluster.client.nodes()
    assert 2900 < shown["ahead"]["offsetMs"] < 3100
    assert -3100 < shown["behind"]["offsetMs"] < -2900


@pytest.mark.parametrize("java", [False, True])
async def test_a_short_task_for_now_runs_late_where_its_agent_was_busy(cluster: Cluster, java: bool) -> None:
    await cluster.add("node0")
    await cluster.add("node1", java=java)
    await cluster.start()
    await cluster.met()
    cluster.agents["node1"].busy_s = 0.5
    await cluster.client.create_task("t", noop(durationMs=20))
    task = await cluster.done("t")
    assert task.get("error", "") == ""
    assert task["status"] == {"node0": "done", "node1": "done"}
    assert [len(agent.fired) for agent in cluster.agents.values()] == [1, 1]


async def test_a_task_for_a_given_time_expires_where_its_agent_was_busy(pair: Cluster) -> None:
    pair.agents["node1"].busy_s = 1.0
    await pair.client.create_task("t", noop(startMs=now_ms(pair) + 300, durationMs=20))
    assert (await pair.done("t"))["error"] == "worker expired"


async def test_one_workers_error_stops_the_others(pair: Cluster) -> None:
    pair.agents["node0"].fail_at_start["t"] = "no such thing here"
    await pair.client.create_task("t", noop(durationMs=LONG_MS))
    task = await pair.done("t")
    assert task["error"] == "no such thing here"
    assert task["cancelled"] is False
    assert ("PUT", "/agent/worker/stop") in pair.agents["node1"].asked


async def test_a_verdict_of_not_seen_is_an_error_and_stops_the_others(pair: Cluster) -> None:
    await pair.client.create_task("t", noop(durationMs=LONG_MS))
    await pair.in_state("t", "RUNNING")
    agent = pair.agents["node1"]
    await pair.until(lambda: agent.fired)
    agent.workers[agent.fired[0]].status = {"text": "cut", "verdict": "not seen: packets arrive"}
    agent._tell(agent.fired[0])
    assert (await pair.done("t"))["error"] == "node1: not seen: packets arrive"


async def test_finished_workers_are_forgotten_by_their_agents(pair: Cluster) -> None:
    await pair.client.create_task("t", noop(durationMs=1))
    assert (await pair.done("t")).get("error", "") == ""
    await pair.until(lambda: not any(agent.workers for agent in pair.agents.values()))
    assert (await pair.client.task("t"))["status"] == {"node0": "done", "node1": "done"}


async def test_an_armed_task_is_final_when_its_stop_is_answered(pair: Cluster) -> None:
    await pair.client.create_task("t", noop(startMs=now_ms(pair) + 50_000, durationMs=1000))
    await pair.until(lambda: set(phases(pair, "t").values()) == {Phase.ARMED})
    assert (await pair.client.task("t"))["state"] == "PENDING"
    await pair.client.stop_task("t")
    assert not any(agent.fired for agent in pair.agents.values())
    task = await pair.done("t")
    assert (task["startedMs"], task["cancelled"]) == (-1, True)
    assert "status" not in task


async def test_a_task_far_ahead_is_shipped_when_it_is_near(pair: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SHIP_AHEAD_NS", 100_000_000)
    await pair.client.create_task("t", noop(startMs=now_ms(pair) + 50_000, durationMs=LONG_MS))
    assert set(phases(pair, "t").values()) == {Phase.NEW}
    pair.jump(49_950)
    await pair.until(lambda: all(agent.workers for agent in pair.agents.values()))


async def test_a_destroyed_task_is_gone_at_once_and_from_the_store_once_acknowledged(pair: Cluster) -> None:
    await pair.client.create_task("t", noop(durationMs=LONG_MS))
    await pair.until(lambda: all(agent.fired for agent in pair.agents.values()))
    await pair.client.destroy_task("t")
    with pytest.raises(NotFound):
        await pair.client.task("t")
    await pair.until(lambda: not any(agent.workers for agent in pair.agents.values()))
    await pair.crash()
    await pair.start()
    assert pair.coordinator
    assert not pair.coordinator.tasks.live
    assert await pair.client.tasks() == {}


async def test_an_agent_that_restarts_under_a_running_task_ends_it_and_nothing_fires_twice(pair: Cluster) -> None:
    await pair.client.create_task("t", noop(durationMs=LONG_MS))
    await pair.until(lambda: all(agent.fired for agent in pair.agents.values()))
    await pair.until(lambda: set(phases(pair, "t").values()) == {Phase.RUNNING})
    await pair.agents["node0"].kill()
    await pair.agents["node0"].start()
    task = await pair.done("t")
    assert task["error"].startswith("agent restarted; fault ended at ")
    assert len(pair.agents["node0"].fired) == 1
    assert not pair.agents["node1"].workers or all(
        held.state == "DONE" for held in pair.agents["node1"].workers.values()
    )


async def test_an_agent_that_answers_rubbish_is_lost_and_met_again(pair: Cluster) -> None:
    agent = pair.agents["node0"]
    agent.lease_answer = {"bootNs": "noon"}
    assert pair.coordinator
    seen = pair.coordinator.tasks.agents["node0"]
    await pair.until(lambda: not seen.up)
    agent.lease_answer = None
    await pair.until(lambda: seen.up)
    await pair.client.create_task("t", noop(durationMs=1))
    assert "error" not in await pair.done("t")


async def test_an_agent_that_restarts_before_the_instant_is_told_again(pair: Cluster) -> None:
    await pair.client.create_task("t", noop(startMs=now_ms(pair) + 50_000, durationMs=LONG_MS))
    await pair.until(lambda: set(phases(pair, "t").values()) == {Phase.ARMED})
    agent = pair.agents["node0"]
    told = {worker_id: held.request for worker_id, held in agent.workers.items()}
    await agent.kill()
    await agent.start()
    await pair.until(lambda: agent.workers)
    assert [(held.request.task_id, held.state) for held in agent.workers.values()] == [("t", "STARTING")]
    assert agent.workers.keys() == told.keys()


@pytest.mark.parametrize("java", [False, True])
async def test_an_agent_that_comes_late_starts_late(cluster: Cluster, java: bool) -> None:
    await cluster.add("node0")
    await cluster.add("node1", java=java)
    port = cluster.agents["node1"].port
    await cluster.agents["node1"].kill()
    await cluster.start()
    await cluster.client.create_task("t", noop(durationMs=LONG_MS), check=False)
    await cluster.in_state("t", "RUNNING")
    await cluster.until(lambda: cluster.agents["node0"].fired)
    await cluster.agents["node1"].start()
    assert cluster.agents["node1"].port == port
    await cluster.until(lambda: cluster.agents["node1"].fired)
    await cluster.in_state("t", "RUNNING")


@pytest.mark.parametrize("java", [False, True])
async def test_an_agent_that_comes_after_the_end_never_starts(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, java: bool
) -> None:
    monkeypatch.setattr(progress, "OVERDUE_NS", 300 * 10**9)
    await cluster.add("node0", clock=cluster.clock)
    await cluster.add("node1", java=java, clock=cluster.clock)
    await cluster.agents["node1"].kill()
    await cluster.start()
    await cluster.client.create_task("t", noop(startMs=now_ms(cluster) + 50_000, durationMs=100), check=False)
    cluster.jump(50_100)
    await cluster.agents["node1"].start()
    assert (await cluster.done("t"))["error"] == "worker expired"
    assert not cluster.agents["node1"].fired


async def test_an_unknown_worker_of_a_known_task_is_adopted_and_of_an_unknown_one_is_ended(pair: Cluster) -> None:
    await pair.client.create_task("known", noop(durationMs=LONG_MS))
    await pair.client.create_task("destroyed", noop(durationMs=LONG_MS))
    await pair.until(lambda: all(len(agent.fired) == 2 for agent in pair.agents.values()))
    await pair.crash()
    kept = dict(pair.agents["node0"].workers)
    await pair.start()
    await pair.client.destroy_task("destroyed")
    await pair.until(lambda: len(pair.agents["node0"].workers) == 1)
    assert [held.request.task_id for held in pair.agents["node0"].workers.values()] == ["known"]
    assert (await pair.client.task("known"))["state"] == "RUNNING"
    gone = next(worker_id for worker_id, held in kept.items() if held.request.task_id == "destroyed")
    pair.agents["node0"].workers[gone] = kept[gone]
    kept[gone].state = "RUNNING"
    await pair.crash()
    await pair.start()
    await pair.until(lambda: gone not in pair.agents["node0"].workers)
    assert (await pair.client.task("known"))["state"] == "RUNNING"
    assert [len(agent.fired) for agent in pair.agents.values()] == [2, 2]


async def test_a_node_that_stays_away_does_not_wedge_its_task(pair: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "OVERDUE_NS", 500_000_000)
    await pair.client.create_task("t", noop(durationMs=LONG_MS))
    await pair.until(lambda: set(phases(pair, "t").values()) == {Phase.RUNNING})
    await pair.agents["node1"].kill()
    pair.jump(LONG_MS)
    task = await pair.done("t")
    assert "node node1 not seen since " in task["error"]
    assert "its fault may last until " in task["error"]


async def test_a_stopped_task_whose_agent_is_away_is_final_when_its_lease_has_run_out(
    pair: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LEASE_NS", 500_000_000)
    await pair.client.create_task("t", noop(startMs=now_ms(pair) + 50_000, durationMs=1000))
    await pair.until(lambda: set(phases(pair, "t").values()) == {Phase.ARMED})
    await pair.agents["node1"].kill()
    assert pair.coordinator
    await pair.until(lambda: not pair.coordinator.tasks.agents["node1"].up)  # type: ignore[union-attr]
    await pair.client.stop_task("t")
    task = await pair.client.task("t")
    assert task["state"] in ("STOPPING", "DONE")
    assert task["startedMs"] == -1
    assert (await pair.done("t"))["cancelled"] is True


async def test_tasks_survive_the_coordinator(pair: Cluster) -> None:
    await pair.client.create_task("running", noop(durationMs=LONG_MS))
    await pair.client.create_task("ahead", noop(startMs=FAR_MS, durationMs=1))
    await pair.client.create_task("over", noop(durationMs=1))
    over = await pair.done("over")
    await pair.until(lambda: set(phases(pair, "running").values()) == {Phase.RUNNING})
    before = await pair.client.events()
    await pair.crash()
    await pair.start()
    tasks = await pair.client.tasks()
    assert {task_id: task["state"] for task_id, task in tasks.items()} == {
        "ahead": "PENDING",
        "over": "DONE",
        "running": "RUNNING",
    }
    assert tasks["over"] == over
    await pair.client.create_task("running", noop(durationMs=LONG_MS))
    with pytest.raises(Conflict):
        await pair.client.create_task("running", noop(durationMs=1))
    await pair.met()
    await pair.client.stop_task("running")
    assert (await pair.done("running"))["status"] == {"node0": "done", "node1": "done"}
    assert [len(agent.fired) for agent in pair.agents.values()] == [2, 2]
    after = await pair.client.events()
    assert after[: len(before)] == before
    assert [event["seq"] for event in after] == list(range(1, len(after) + 1))


async def test_a_task_that_ended_while_the_coordinator_was_away_is_known_to_have(pair: Cluster) -> None:
    await pair.client.create_task("t", noop(durationMs=300))
    await pair.until(lambda: all(agent.fired for agent in pair.agents.values()))
    await pair.crash()
    await pair.until(lambda: all(held.state == "DONE" for a in pair.agents.values() for held in a.workers.values()))
    await pair.start()
    task = await pair.done("t")
    assert task["status"] == {"node0": "done", "node1": "done"}
    assert "error" not in task


async def test_agents_are_heard_before_they_are_given_up_by_a_coordinator_that_comes_back_late(
    pair: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pair.client.create_task("t", noop(durationMs=300))
    await pair.until(lambda: all(agent.fired for agent in pair.agents.values()))
    await pair.crash()
    pair.clock.passed_ns = 600 * 10**9
    monkeypatch.setattr(progress, "OVERDUE_NS", 60 * 10**9)
    monkeypatch.setattr(progress, "LOOK_AGAIN_S", 0.0)
    await pair.start()
    task = await pair.done("t")
    assert "error" not in task
    assert task["status"] == {"node0": "done", "node1": "done"}


async def test_agents_are_heard_before_they_are_given_up_by_a_coordinator_that_was_stopped(
    pair: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pair.client.create_task("t", noop(startMs=now_ms(pair) + 1000, durationMs=300))
    await pair.until(lambda: not {Phase.NEW, Phase.SHIPPED} & {*phases(pair, "t").values()})
    monkeypatch.setattr(progress, "OVERDUE_NS", 60 * 10**9)
    monkeypatch.setattr(progress, "LOOK_AGAIN_S", 0.0)
    pair.clock.passed_ns = 600 * 10**9
    assert "error" not in await pair.done("t")


async def test_a_lease_that_the_coordinator_before_gave_is_waited_for(
    pair: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease_ms = 500
    monkeypatch.setattr(progress, "LEASE_NS", LONG_MS * 10**6)
    await pair.client.create_task("t", noop(startMs=now_ms(pair) + 50_000, durationMs=1000))
    await pair.until(lambda: set(phases(pair, "t").values()) == {Phase.ARMED})
    await pair.agents["node1"].kill()
    await pair.client.stop_task("t")
    await pair.crash()
    monkeypatch.setattr(progress, "LEASE_NS", lease_ms * 10**6)
    back_ms = pair.clock.wall_ms()
    await pair.start()
    assert (await pair.done("t"))["doneMs"] >= back_ms + lease_ms


async def test_workers_of_others_are_shown_and_left_alone(pair: Cluster) -> None:
    from trogdor.client import AsyncAgentClient

    async with AsyncAgentClient(f"127.0.0.1:{pair.agents['node0'].port}") as agent:
        await agent.create_worker(17, "by-hand", noop(startMs=now_ms(pair), durationMs=LONG_MS))
    await pair.crash()
    await pair.start()
    await pair.met()
    assert list((await pair.client.nodes())["node0"]["strangers"]) == ["17"]
    assert pair.agents["node0"].workers[17].state == "RUNNING"


async def test_shutdown_ends_what_runs_and_keeps_what_waits(pair: Cluster) -> None:
    await pair.client.create_task("running", noop(durationMs=LONG_MS))
    await pair.client.create_task("near", noop(startMs=now_ms(pair) + 50_000, durationMs=100))
    await pair.client.create_task("far", noop(startMs=FAR_MS, durationMs=100))
    await pair.until(lambda: set(phases(pair, "near").values()) == {Phase.ARMED})
    await pair.until(lambda: set(phases(pair, "running").values()) == {Phase.RUNNING})
    assert pair.coordinator
    await pair.coordinator.stop()
    pair.coordinator = None
    assert not any(held.state != "DONE" for agent in pair.agents.values() for held in agent.workers.values())
    await pair.start()
    states = {task_id: task["state"] for task_id, task in (await pair.client.tasks()).items()}
    assert states == {"far": "PENDING", "near": "PENDING", "running": "DONE"}


async def test_shutdown_is_not_held_up_by_an_agent_that_takes_stops_and_does_nothing(
    pair: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "END_FAULTS_S", 0.5)
    pair.agents["node0"].deaf = True
    await pair.client.create_task("t", noop(durationMs=LONG_MS))
    await pair.until(lambda: set(phases(pair, "t").values()) == {Phase.RUNNING})
    assert pair.coordinator
    stopping, pair.coordinator = pair.coordinator, None
    await asyncio.wait_for(stopping.stop(), 60)


async def test_what_cannot_be_written_is_tried_again_and_no_agent_forgets_before(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_MS", 10)
    monkeypatch.setattr(store, "RETRY_S", 0.05)
    await cluster.add("node0")
    await cluster.start()
    await cluster.met()
    await cluster.client.create_task("t", noop(durationMs=LONG_MS))
    agent = cluster.agents["node0"]
    await cluster.until(lambda: agent.fired)
    await cluster.until(lambda: phases(cluster, "t") == {"node0": Phase.RUNNING})
    other = sqlite3.connect(cluster.state / "coordinator.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Failed, match=r"503: .* database is locked"):
        await cluster.client.create_task("refused", noop(startMs=FAR_MS), check=False)
    agent.end(agent.fired[0])
    assert (await cluster.done("t"))["status"] == "done"
    for task_id in ("a", "b"):
        with pytest.raises(Failed, match="503"):
            await cluster.client.create_task(task_id, noop(startMs=FAR_MS), check=False)
    assert agent.workers
    other.execute("ROLLBACK")
    other.close()
    await cluster.until(lambda: not agent.workers)
    await cluster.client.create_task("later", noop(startMs=FAR_MS))
    await cluster.crash()
    await cluster.start()
    states = {task_id: task["state"] for task_id, task in (await cluster.client.tasks()).items()}
    assert states == {"later": "PENDING", "t": "DONE"}


async def test_a_row_that_the_database_never_takes_fails_nothing_but_itself(
    pair: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pair.coordinator
    tasks = pair.coordinator.tasks
    refused = tasks.store.put(store.EVENTS, (TOO_LARGE, "x"))
    await tasks.create("beside", parse(noop(startMs=FAR_MS)))
    with pytest.raises(store.RowsRefused, match=f"events {TOO_LARGE}"):
        await refused
    assert tasks.store.refused_rows == 1
    with monkeypatch.context() as patched:
        patched.setattr(tasks.identity, "_prefix", TOO_LARGE)
        with pytest.raises(store.RowsRefused, match=r"refuses 2 rows: workers"):
            await tasks.create("itself", parse(noop(startMs=tasks.clock.wall_ms() + 30_000)))
    await pair.client.create_task("later", noop(startMs=FAR_MS))
    await pair.crash()
    await pair.start()
    assert sorted(await pair.client.tasks()) == ["beside", "later"]


async def test_a_store_of_the_first_format_is_carried_on(pair: Cluster) -> None:
    """It had a row for each worker from the start, and a task's row did not name them."""
    assert pair.coordinator
    await pair.client.create_task("far", noop(startMs=FAR_MS))
    ids = {name: worker.id for name, worker in pair.coordinator.tasks.by_id["far"].workers.items()}
    await pair.crash()
    with sqlite3.connect(pair.state / "coordinator.db") as old:
        ((seq,),) = old.execute("SELECT seq FROM tasks WHERE id = 'far'")
        for node, id_ in ids.items():
            old.execute("INSERT INTO workers VALUES (?, ?, ?, 'NEW', -1, -1, '', '\"receiving\"')", (id_, seq, node))
        old.execute("ALTER TABLE tasks DROP COLUMN workers")
        old.execute("UPDATE about SET value = '1' WHERE key = 'format'")
    for _ in range(2):
        await pair.start()
        assert {name: worker.id for name, worker in pair.coordinator.tasks.by_id["far"].workers.items()} == ids
        await pair.client.create_task("new", noop(startMs=FAR_MS))
        await pair.crash()
    with sqlite3.connect(pair.state / "coordinator.db") as store_now:
        assert [*store_now.execute("SELECT value FROM about WHERE key = 'format'")] == [("2",)]
    await pair.start()


async def test_what_waits_for_a_full_disk_is_bounded_and_no_more_tasks_are_taken(
    pair: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_MS", 10)
    monkeypatch.setattr(store, "MOST_EVENTS", 5)
    monkeypatch.setattr(store, "MOST_WAITING", 5)
    await pair.crash()
    await pair.start()
    await pair.met()
    assert pair.coordinator
    tasks = pair.coordinator.tasks
    other = sqlite3.connect(pair.state / "coordinator.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for number in range(20):
        tasks.events.emit("mark", text=str(number))
    await pair.until(lambda: tasks.store.events_dropped >= 15)
    assert 5 <= tasks.store.waiting < 20
    with pytest.raises(Failed, match=r"503: no task is taken while \d+ changes wait: .* database is locked"):
        await pair.client.create_task("refused", noop(startMs=FAR_MS))
    other.execute("ROLLBACK")
    other.close()
    await pair.until(lambda: not tasks.store.problem)
    await pair.client.create_task("taken", noop(startMs=FAR_MS))
    assert sorted(await pair.client.tasks()) == ["taken"]


async def test_frozen_is_frozen_also_after_a_restart(pair: Cluster) -> None:
    fault = {"class": "ProcessStopFaultSpec", "nodeNames": ["node0"], "javaProcessName": "x", "startMs": FAR_MS}
    await pair.client.freeze()
    await pair.crash()
    await pair.start()
    await pair.met()
    with pytest.raises(Refused, match="frozen"):
        await pair.client.create_task("t", fault)
    with pytest.raises(Refused, match="frozen"):
        await pair.client.create_task("t", fault, check=False)
    await pair.client.create_task("no-fault", noop(startMs=FAR_MS), check=False)
    await pair.client.thaw()
    await pair.client.create_task("t", fault)


async def test_one_frozen_node_is_known_though_nobody_froze_it_here(pair: Cluster) -> None:
    fault = {"class": "ProcessStopFaultSpec", "nodeNames": ["node1"], "javaProcessName": "x", "startMs": FAR_MS}
    await pair.client.freeze(["node0"])
    assert (await pair.client.faults())["frozenNodes"] == ["node0"]
    await pair.client.create_task("t", fault)
    with pytest.raises(Refused, match="trogdor thaw node0"):
        await pair.client.create_task("u", {**fault, "nodeNames": ["node0"]})
    await pair.client.thaw(["node0"])
    assert (await pair.client.faults())["frozenNodes"] == []
    pair.agents["node1"].frozen = True
    assert pair.coordinator
    await pair.coordinator.tasks.agents["node1"].beat()
    assert (await pair.client.faults()) == {"faults": [], "frozen": False, "frozenNodes": ["node1"]}
    with pytest.raises(Refused, match="Unknown node names: node9"):
        await pair.client.freeze(["node9"])


async def test_heal_ends_everything_and_says_so(pair: Cluster) -> None:
    await pair.client.create_task("a", noop(durationMs=LONG_MS))
    await pair.client.create_task("b", noop(startMs=FAR_MS))
    assert await pair.client.heal() == {"stopped": ["a", "b"], "remaining": {}}
    assert {task["state"] for task in (await pair.client.tasks()).values()} == {"DONE"}


async def test_a_check_finds_every_problem_and_changes_nothing(pair: Cluster) -> None:
    links = {"class": "CutLinksFaultSpec", "links": [{"from": "n 1", "to": "n2", "ports": ["x"]}], "bogus": 1}
    found = await pair.client.check("t", links)
    assert {problem["path"] for problem in found["problems"]} >= {
        "spec.links[0].from",
        "spec.links[0].ports[0]",
        "spec.bogus",
    }
    unknown = await pair.client.check("t", {"class": "ProcessStopFaultSpec", "nodeNames": ["x"]})
    assert "Unknown node names: x" in unknown["problems"][0]["message"]
    fine = await pair.client.check("t", noop())
    assert fine == {"problems": [], "nodes": ["node0", "node1"]}
    assert await pair.client.tasks() == {}


async def test_a_check_finds_a_command_that_the_agent_does_not_allow(cluster: Cluster) -> None:
    await cluster.add("node0", "node1")
    cluster.agents["node1"].commands = ["/opt/load"]
    await cluster.start()
    await cluster.met()
    command = {"class": "ExternalCommandSpec", "commandNode": "node1", "command": ["/bin/sh", "-c", "x"]}
    (problem,) = (await cluster.client.check("t", command))["problems"]
    assert (problem["path"], problem["kind"]) == ("spec.command", "impossible")
    assert problem["message"].startswith('/bin/sh is not allowed on node1; add it to "trogdor.external.commands" of')
    for fine in ({"commandNode": "node0"}, {"command": ["/opt/load"]}):
        assert (await cluster.client.check("t", {**command, **fine}))["problems"] == []


async def test_a_check_finds_what_a_node_cannot_do_and_what_it_lacks_for_it(cluster: Cluster) -> None:
    await cluster.add("node0")
    lacks = {"nft": "install libnftables1", "qdisc": "be root", "queue": "be root"}
    cluster.agents["node0"].further_features = {"classes": [parse(noop()).class_name], "missing": lacks}
    await cluster.start()
    await cluster.met()
    cut = {"class": "CutLinksFaultSpec", "links": [{"from": "10.0.0.9", "to": "node0"}]}
    (problem,) = (await cluster.client.check("t", cut))["problems"]
    assert problem["kind"] == "impossible"
    assert problem["message"] == "node node0 cannot do this: nft: install libnftables1; qdisc, queue: be root"
    assert (await cluster.client.check("t", noop()))["problems"] == []


async def test_an_agent_is_told_of_those_peers_by_whom_its_fault_is_seen(cluster: Cluster) -> None:
    await cluster.add("node0", "node1", "node2")
    await cluster.start()
    await cluster.met()
    assert cluster.coordinator
    tasks = cluster.coordinator.tasks

    async def peers(document: dict[str, Any]) -> dict[str, list[str]]:
        await tasks.create(str(document), parse({**document, "startMs": FAR_MS}))
        workers = tasks.by_id[str(document)].workers
        return {name: sorted(tasks.peers_of(worker)) for name, worker in workers.items()}

    for end, seen_from in (("node0", ["node0"]), ("!node1", ["node0", "node2"])):
        cut = await peers({"class": "CutLinksFaultSpec", "links": [{"from": end, "to": "node1"}]})
        assert cut == {"node1": seen_from}
    parted = await peers({"class": "NetworkPartitionFaultSpec", "partitions": [["node0"], ["node2"]]})
    assert parted == {"node0": ["node2"], "node2": ["node0"]}
    slow = {"from": "node2", "to": "node1", "delayMs": 5}
    assert await peers({"class": "DegradedLinksFaultSpec", "links": [slow]}) == {"node1": ["node2"]}
    stop = {"class": "ProcessStopFaultSpec", "nodeNames": ["node0"], "javaProcessName": "x"}
    assert await peers(stop) == {"node0": []}
    assert await peers(noop()) == {"node0": [], "node1": [], "node2": []}


async def test_our_own_classes_are_strict_where_upstreams_become_failed_tasks(pair: Cluster) -> None:
    nowhere = {"class": "CutLinksFaultSpec", "links": [{"from": "elsewhere", "to": "nowhere"}]}
    with pytest.raises(Refused, match="has an agent"):
        await pair.client.create_task("t", nowhere, check=False)
    assert await pair.client.tasks() == {}


async def test_what_an_agent_could_not_undo_is_among_the_faults_until_it_is_undone(pair: Cluster) -> None:
    left = {"node": "node0", "taskId": "t1", "workerId": 1, "class": None, "startMs": 1, "untilMs": 2, "status": None}
    left |= {"overdue": True, "claims": [{"kind": "qdisc", "key": "eth0"}]}
    assert pair.coordinator
    shown = []
    for overdue in ([left], []):
        pair.agents["node0"].overdue = overdue
        await pair.coordinator.tasks.agents["node0"].beat()
        shown.append((await pair.client.faults())["faults"])
    assert shown == [[{**left, "up": True}], []]
