"""Composite tasks: one task to upstream's routes, made of children of our own."""

import sqlite3
import sys
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from trogdor.client import Refused
from trogdor.compose.expand import expand
from trogdor.compose.question import Answer, Question
from trogdor.coordinator import composites, routes
from unit.coordinator.conftest import Cluster

LONG_MS = 600_000
MATCH = {"name": "etcd"}
NOOP = {"class": "NoOpTaskSpec"}


def sequence(**fields: Any) -> dict[str, Any]:
    return {"class": "SequenceSpec", **fields}


def target(program: str, spec: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"class": "TargetSpec", "command": [sys.executable, "-c", program], "spec": spec, **fields}


async def test_a_sequence_runs_its_steps_in_rounds_and_is_one_task(pair: Cluster) -> None:
    steps = [{"durationMs": 1000, "spec": NOOP}, {"offsetMs": 100, "durationMs": 1000, "spec": NOOP}]
    await pair.client.create_task("s", sequence(steps=steps, repeat=2, periodMs=400))
    task = await pair.done("s")
    assert "error" not in task
    assert list(await pair.client.tasks()) == ["s"]
    children = await pair.client.children("s")
    assert sorted(children) == ["s/0", "s/1", "s/2", "s/3"]
    starts = [children[f"s/{number}"]["spec"]["startMs"] for number in range(4)]
    assert starts == sorted(starts)
    assert task["startedMs"] == starts[0]
    assert task["status"]["children"] == children
    assert [len(agent.fired) for agent in pair.agents.values()] == [4, 4]


async def test_stopping_a_composite_stops_its_children_and_makes_no_more(pair: Cluster) -> None:
    steps = [{"durationMs": LONG_MS, "spec": NOOP}]
    await pair.client.create_task("s", sequence(steps=steps, repeat=100, periodMs=3000))
    await pair.in_state("s", "RUNNING")
    await pair.client.stop_task("s")
    task = await pair.done("s")
    assert task["cancelled"] is True
    assert {child["state"] for child in (await pair.client.children("s")).values()} == {"DONE"}


async def test_a_childs_error_is_the_composites(pair: Cluster) -> None:
    pair.agents["node1"].fail_at_start["s/1"] = "no such thing"
    steps = [{"durationMs": 1000, "spec": NOOP}, {"offsetMs": 100, "durationMs": 1000, "spec": NOOP}]
    await pair.client.create_task("s", sequence(steps=steps))
    assert (await pair.done("s"))["error"] == "no such thing"


async def test_a_composite_goes_on_after_a_restart_where_it_was(pair: Cluster) -> None:
    steps = [{"durationMs": 100, "spec": NOOP}, {"offsetMs": 2500, "durationMs": 50, "spec": NOOP}]
    await pair.client.create_task("s", sequence(steps=steps))
    await pair.until(lambda: all(agent.fired for agent in pair.agents.values()))
    await pair.crash()
    await pair.start()
    assert "error" not in await pair.done("s")
    assert sorted(await pair.client.children("s")) == ["s/0", "s/1"]
    assert [len(agent.fired) for agent in pair.agents.values()] == [2, 2]


async def test_a_destroyed_composite_leaves_no_child_in_the_store(pair: Cluster) -> None:
    await pair.client.create_task("s", sequence(steps=[{"durationMs": LONG_MS, "spec": NOOP}]))
    await pair.in_state("s", "RUNNING")
    await pair.client.destroy_task("s")
    await pair.until(lambda: not any(agent.workers for agent in pair.agents.values()))
    await pair.crash()
    await pair.start()
    assert pair.coordinator
    assert not pair.coordinator.tasks.live
    assert await pair.client.tasks() == {}


async def test_nodes_are_found_by_a_command_just_before_the_start(pair: Cluster) -> None:
    external = {"class": "ExternalCommandSpec", "commandNode": "$node", "command": ["true"]}
    await pair.client.create_task("t", target("print('node1')", external, durationMs=100))
    await pair.done("t")
    child = (await pair.client.children("t"))["t/0"]
    assert child["spec"]["commandNode"] == "node1"
    assert [len(agent.fired) for agent in pair.agents.values()] == [0, 1]


async def test_a_composite_may_be_a_part_of_another(pair: Cluster) -> None:
    external = {"class": "ExternalCommandSpec", "commandNode": "$node", "command": ["true"]}
    steps = [{"durationMs": LONG_MS, "spec": target("print('node1')", external)}]
    await pair.client.create_task("s", sequence(steps=steps, repeat=2, periodMs=300))
    agent = pair.agents["node1"]
    await pair.until(lambda: len(agent.fired) == 2)
    for worker_id in agent.fired:
        agent.end(worker_id)
    task = await pair.done("s")
    assert "error" not in task
    inner = task["status"]["children"]
    assert sorted(inner) == ["s/0", "s/1"]
    assert inner["s/0"]["status"]["children"]["s/0/0"]["spec"]["commandNode"] == "node1"
    assert [len(agent.fired) for agent in pair.agents.values()] == [0, 2]


async def test_a_part_of_a_part_ends_with_the_whole_also_after_a_restart(pair: Cluster) -> None:
    part = target("print('node0 node1')", {"class": "ProcessPauseFaultSpec", "nodeNames": "$nodes", "match": MATCH})
    await pair.client.create_task("s", sequence(steps=[{"durationMs": LONG_MS, "spec": part}]))
    await pair.until(lambda: all(agent.fired for agent in pair.agents.values()))
    await pair.crash()
    await pair.start()
    await pair.client.stop_task("s")
    task = await pair.done("s")
    assert task["status"]["children"]["s/0"]["status"]["children"]["s/0/0"]["state"] == "DONE"


async def test_a_schedule_is_no_part_of_another(pair: Cluster) -> None:
    part = sequence(steps=[{"durationMs": 1, "spec": NOOP}])
    with pytest.raises(Refused, match="cannot be part of another"):
        await pair.client.create_task("s", sequence(steps=[{"durationMs": 1, "spec": part}]))


async def test_a_command_that_fails_or_names_no_node_is_the_tasks_error(pair: Cluster) -> None:
    external = {"class": "ExternalCommandSpec", "commandNode": "$node", "command": ["true"]}
    programs = {
        "dies": ("import sys; sys.exit('no quorum')", 60_000, "no quorum"),
        "silent": ("", 60_000, "names no node"),
        "elsewhere": ("print('mars')", 60_000, "mars: no node with an agent"),
        "hangs": ("import time; time.sleep(600)", 500, "no answer within 0.5 s"),
    }
    for name, (program, deadline_ms, _) in programs.items():
        await pair.client.create_task(name, target(program, external, durationMs=100, deadlineMs=deadline_ms))
    for name, (*_, error) in programs.items():
        assert error in (await pair.done(name))["error"], name


async def test_a_resolver_is_found_by_its_name_and_its_absence_is_said(pair: Cluster) -> None:
    external = {"class": "ExternalCommandSpec", "commandNode": "$node", "command": ["true"]}
    spec = {"class": "TargetSpec", "resolve": "etcd", "options": {"port": 1}, "durationMs": 1, "spec": external}
    await pair.client.create_task("etcd", {**spec, "deadlineMs": 60_000})
    assert "no etcd answers as the leader" in (await pair.done("etcd"))["error"]
    await pair.client.create_task("none", {**spec, "resolve": "zoo", "deadlineMs": 60_000})
    assert "no resolver 'zoo'" in (await pair.done("none"))["error"]


async def test_an_end_that_cannot_be_one_is_refused(pair: Cluster) -> None:
    spec = {"class": "ZooKeeperPartitionFaultSpec", "nodeNames": ["node0"], "zookeeperNodes": ["bad host!"]}
    with pytest.raises(Refused, match="'bad host!' is no node"):
        await pair.client.create_task("z", spec, check=False)


async def test_whatever_fails_when_a_composite_is_expanded_is_its_error(
    pair: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("cannot be thought of")

    monkeypatch.setattr(composites, "expand", fail)
    await pair.client.create_task("s", sequence(steps=[{"durationMs": 1, "spec": NOOP}]))
    assert (await pair.done("s"))["error"] == "RuntimeError: cannot be thought of"


async def test_whatever_fails_when_nodes_are_asked_for_is_the_composites_error(
    pair: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> list[Answer]:
        raise ValueError("rubbish")

    monkeypatch.setattr(composites, "resolve", fail)
    await pair.client.create_task("t", target("print('node1')", {"class": "NoOpTaskSpec"}, durationMs=1))
    assert (await pair.done("t"))["error"] == "ValueError: rubbish"


async def test_a_composite_that_follows_ends_also_when_it_cannot_ask_any_more(
    pair: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [[Answer(("node0",))]]

    async def answer_once(*_: Any) -> list[Answer]:
        return answers.pop()

    monkeypatch.setattr(composites, "resolve", answer_once)
    spec = {"class": "ControllerSuspendFaultSpec", "follow": True, "durationMs": 1500}
    await pair.client.create_task("k", spec)
    assert (await pair.done("k"))["error"].startswith("IndexError")
    assert len(pair.agents["node0"].fired) == 1


async def test_too_many_rounds_are_refused(pair: Cluster) -> None:
    steps = [{"durationMs": 1, "spec": NOOP}] * 11
    with pytest.raises(Refused, match="1100000 tasks are more than 1000000"):
        await pair.client.create_task("s", sequence(steps=steps, repeat=100_000))


async def test_the_coordinator_answers_while_it_expands(pair: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def expand_slowly(*arguments: Any) -> Any:
        assert answered.wait(5), "the event loop stands still"
        return expand(*arguments)

    monkeypatch.setattr(composites, "expand", expand_slowly)
    await pair.client.create_task("s", sequence(steps=[{"durationMs": LONG_MS, "spec": NOOP}]))
    await pair.client.status()
    answered.set()
    await pair.in_state("s", "RUNNING")


def rename_class(cluster: Cluster, ids: Sequence[str]) -> None:
    """As if another version had stored these tasks."""
    with sqlite3.connect(cluster.state / "coordinator.db") as store:
        for task_id in ids:
            store.execute(
                """UPDATE tasks SET spec = replace(spec, '"class":"', '"class":"gone.') WHERE id = ?""", [task_id]
            )


async def test_a_task_of_a_class_that_is_not_known_any_more_is_ended_and_the_others_go_on(pair: Cluster) -> None:
    await pair.client.create_task("other", {**NOOP, "durationMs": LONG_MS})
    await pair.client.create_task("plain", {**NOOP, "durationMs": LONG_MS})
    await pair.client.create_task("s", sequence(steps=[{"durationMs": LONG_MS, "spec": NOOP}]))
    await pair.until(lambda: all(len(agent.fired) == 3 for agent in pair.agents.values()))
    await pair.crash()
    rename_class(pair, ["plain", "s"])
    await pair.start()
    await pair.met()
    for task_id in ("plain", "s"):
        task = await pair.done(task_id)
        assert "no spec of class 'gone.org.apache" in task["error"] or "no spec of class 'gone.trogdor" in task["error"]
    await pair.in_state("other", "RUNNING")

    def running() -> list[str]:
        held = [held for agent in pair.agents.values() for held in agent.workers.values()]
        return [worker.request.task_id for worker in held if worker.state == "RUNNING"]

    await pair.until(lambda: running() == ["other", "other"])


async def test_shutdown_disarms_the_children_of_what_waits_and_they_are_armed_after_it(pair: Cluster) -> None:
    assert pair.coordinator
    start_ms = pair.coordinator.tasks.clock.wall_ms() + 50_000
    spec = sequence(steps=[{"durationMs": LONG_MS, "spec": NOOP}], startMs=start_ms)
    await pair.client.create_task("s", spec)
    await pair.until(lambda: all(agent.workers for agent in pair.agents.values()))
    await pair.coordinator.stop()
    pair.coordinator = None
    assert not any(agent.workers for agent in pair.agents.values())
    await pair.start()
    await pair.until(lambda: all(agent.workers for agent in pair.agents.values()))
    held = [held for agent in pair.agents.values() for held in agent.workers.values()]
    assert [(worker.request.task_id, worker.state) for worker in held] == 2 * [("s/0", "STARTING")]
    assert (await pair.client.task("s"))["state"] == "PENDING"


async def test_heal_names_the_nodes_where_a_composites_tasks_remain(
    pair: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "HEAL_S", 0.5)
    deaf = pair.agents["node1"]
    deaf.deaf = True
    await pair.client.create_task("s", sequence(steps=[{"durationMs": LONG_MS, "spec": NOOP}]))
    await pair.until(lambda: all(agent.fired for agent in pair.agents.values()))
    assert await pair.client.heal() == {"stopped": ["s"], "remaining": {"s": ["node1"]}}
    deaf.end(deaf.fired[0])


async def test_who_is_followed_is_followed_on_after_a_restart_and_what_was_found_is_kept(
    pair: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    leading = ["node0"]

    async def resolve(asked: Sequence[Question], topology: dict[str, Any]) -> list[Answer]:
        return [Answer((leading[-1],), f"{leading[-1]} leads") for _ in asked]

    async def suspended() -> list[str]:
        children = await pair.client.children("f")
        return [name for child in children.values() for name in child["spec"]["nodeNames"]]

    monkeypatch.setattr(composites, "resolve", resolve)
    await pair.client.create_task("f", {"class": "ControllerSuspendFaultSpec", "follow": True, "durationMs": LONG_MS})
    await pair.in_state("f", "RUNNING")
    await pair.crash()
    await pair.start()
    task = await pair.in_state("f", "RUNNING")
    assert [found["how"] for found in task["status"]["found"]] == ["node0 leads"]
    leading.append("node1")
    await pair.until(lambda: pair.agents["node1"].fired)
    assert await suspended() == ["node0", "node1"]
    await pair.client.stop_task("f")
    assert (await pair.done("f"))["cancelled"] is True


@pytest.mark.parametrize(
    "asked",
    [{"command": ["/bin/echo", "node1"]}, {"resolve": "command", "options": {"command": ["/bin/echo", "node1"]}}],
)
async def test_the_coordinator_runs_only_the_commands_that_its_node_allows(
    pair: Cluster, asked: dict[str, Any]
) -> None:
    spec = {"class": "TargetSpec", "durationMs": 1, "spec": NOOP, **asked}
    with pytest.raises(Refused, match=r'/bin/echo is not allowed on c.*add it to "trogdor\.external\.commands"'):
        await pair.client.create_task("t", spec, check=False)
