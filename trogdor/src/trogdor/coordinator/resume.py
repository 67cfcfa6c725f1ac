"""After a restart: the tasks as the store has them, each taken up where it was."""

import json
import logging
from typing import Any

from trogdor.coordinator.state import Phase, State, Task, Worker
from trogdor.coordinator.store import FOUND, TASKS, WORKERS, rows_by
from trogdor.coordinator.tasks import Tasks
from trogdor.instant import NS_PER_MS
from trogdor.timeline.samples import Track, sampled

log = logging.getLogger(__name__)


async def resume(tasks: Tasks) -> None:
    """Reads every task from the store and sees to those that are not final. Their agents are asked when met."""
    rows = await tasks.store.read(f"SELECT * FROM {TASKS.name} ORDER BY seq")
    workers = rows_by(await tasks.store.read(f"SELECT * FROM {WORKERS.name} ORDER BY id"), "task_seq")
    rows_found = await tasks.store.read(f"SELECT * FROM {FOUND.name}")
    asked = {row["task_seq"]: json.loads(row["found"]) for row in rows_found}
    found = [_task(row, tasks) for row in rows]
    for task, row in zip(found, rows, strict=True):
        task.found = asked.get(task.seq)
        for worker in _workers(task, json.loads(row["workers"]), workers.get(task.seq, [])):
            if worker.node in tasks.agents:
                task.workers[worker.node] = worker
            elif worker.phase is not Phase.DONE and not task.error:
                task.error = f"node {worker.node} is not in the configuration any more"
    _take_up_samples(found, tasks)
    tasks.take_up_all(found)
    unfinished = sum(not task.is_final for task in tasks.by_id.values())
    if rows:
        log.info("resumed %d tasks from the store, %d of them not done", len(rows), unfinished)


def _workers(task: Task, ids: dict[str, int], rows: list[dict[str, Any]]) -> list[Worker]:
    """A task's workers; ``ids``, by node, of a store of format 1 are none, and each has a row."""
    known = {row["id"] for row in rows}
    new = [Worker(id_, task, node) for node, id_ in ids.items() if id_ not in known]
    return sorted([*new, *(Worker.from_row(row, task) for row in rows)], key=lambda worker: worker.id)


def _take_up_samples(found: list[Task], tasks: Tasks) -> None:
    """What workloads were sampled, as far as the latest events tell."""
    workers = {(task.id, worker.node): worker for task in found for worker in task.workers.values()}
    for event in tasks.events.recent:
        worker = workers.get((str(event.get("taskId")), str(event.get("node"))))
        sample = sampled(event)
        if worker is not None and sample is not None:
            worker.track = worker.track or Track()
            worker.track.add(sample)


def _task(row: dict[str, object], tasks: Tasks) -> Task:
    spec = json.loads(str(row["spec"]))
    start_ns = tasks.clock.boot_ns() + spec["startMs"] * NS_PER_MS - tasks.clock.wall_ns()
    return Task(
        seq=_whole(row["seq"]),
        id=str(row["id"]),
        original=str(row["original"]),
        effective=str(row["spec"]),
        start_boot_ns=start_ns,
        end_boot_ns=start_ns + spec["durationMs"] * NS_PER_MS,
        parent=None if row["parent"] is None else _whole(row["parent"]),
        state=State(str(row["state"])),
        started_ms=_whole(row["started_ms"]),
        done_ms=_whole(row["done_ms"]),
        cancelled=bool(row["cancelled"]),
        destroyed=bool(row["destroyed"]),
        error=str(row["error"]),
        lease=str(row["lease"]),
    )


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value
