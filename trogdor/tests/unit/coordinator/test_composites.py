"""Composite tasks: one task to upstream's routes, made of children of our own."""

import sys
from typing import Any

from unit.coordinator.conftest import Cluster

LONG_MS = 600_000
NOOP = {"class": "NoOpTaskSpec"}


def sequence(**fields: Any) -> dict[str, Any]:
    return {"class": "SequenceSpec", **fields}


def target(program: str, spec: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"class": "TargetSpec", "command": [sys.executable, "-c", program], "spec": spec, **fields}


async def test_a_sequence_runs_its_steps_in_rounds_and_is_one_task(pair: Cluster) -> None:
    steps = [{"durationMs": 50, "spec": NOOP}, {"offsetMs": 100, "durationMs": 50, "spec": NOOP}]
    await pair.client.create_task("s", sequence(steps=steps, repeat=2))
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
    await pair.client.create_task("s", sequence(steps=steps, repeat=1000, periodMs=300))
    await pair.in_state("s", "RUNNING")
    await pair.client.stop_task("s")
    task = await pair.done("s")
    assert task["cancelled"] is True
    assert {child["state"] for child in (await pair.client.children("s")).values()} == {"DONE"}


async def test_a_childs_error_is_the_composites(pair: Cluster) -> None:
    pair.agents["node1"].fail_at_start["s/1"] = "no such thing"
    steps = [{"durationMs": 50, "spec": NOOP}, {"offsetMs": 100, "durationMs": 50, "spec": NOOP}]
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


async def test_a_command_that_fails_or_names_no_node_is_the_tasks_error(pair: Cluster) -> None:
    external = {"class": "ExternalCommandSpec", "commandNode": "$node", "command": ["true"]}
    programs = {
        "dies": ("import sys; sys.exit('no quorum')", 60_000, "no quorum"),
        "silent": ("", 60_000, "names no node"),
        "elsewhere": ("print('mars')", 60_000, "mars: no node with an agent"),
        "hangs": ("import time; time.sleep(600)", 500, "no answer within 0.5 s"),
    }
    for name, (program, deadline_ms, error) in programs.items():
        await pair.client.create_task(name, target(program, external, durationMs=100, deadlineMs=deadline_ms))
        assert error in (await pair.done(name))["error"], name


async def test_a_resolver_is_found_by_its_name_and_its_absence_is_said(pair: Cluster) -> None:
    external = {"class": "ExternalCommandSpec", "commandNode": "$node", "command": ["true"]}
    spec = {"class": "TargetSpec", "resolve": "etcd", "options": {"port": 1}, "durationMs": 1, "spec": external}
    await pair.client.create_task("etcd", {**spec, "deadlineMs": 60_000})
    assert "no etcd answers as the leader" in (await pair.done("etcd"))["error"]
    await pair.client.create_task("none", {**spec, "resolve": "zoo", "deadlineMs": 60_000})
    assert "no resolver 'zoo'" in (await pair.done("none"))["error"]
