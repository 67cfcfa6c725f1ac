"""Timelines from what there is: a drawn schedule, or the coordinator's tasks and events."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from trogdor.spec import REGISTRY, Spec, SpecError, parse
from trogdor.spec.schedule import FixedScheduleSpec
from trogdor.timeline.model import Bar, Mark, Outcome, Rate, Timeline
from trogdor.timeline.samples import Sample, rates, sampled
from trogdor.topology import Node, Topology
from trogdor.wire.status import FaultStatus, read_statuses

Json = dict[str, Any]

MAX_DETAIL = 300


def topology_of_names(names: Iterable[str]) -> Topology:
    """A topology of nodes of which no more is known than that they have agents."""
    return Topology({name: Node(name, agent_port=1) for name in names})


def of_schedule(schedule: FixedScheduleSpec, topology: Topology) -> Timeline:
    """What a schedule will do, its times counted from its start."""
    bars = [
        Bar(str(number), node, what_of(task.spec), task.at_ms, task.end_ms, detail=detail_of(task.spec))
        for number, task in enumerate(schedule.tasks, start=1)
        for node in parse(task.spec).target_nodes(topology)
    ]
    seed = "" if schedule.seed is None else f", seed {schedule.seed}"
    title = f"{len(schedule.tasks)} tasks{seed}, format {schedule.format_version}"
    return Timeline(tuple(topology.agents()), tuple(bars), title=title, relative=True)


def of_tasks(
    tasks: Mapping[str, Any],
    events: Iterable[Json],
    topology: Topology,
    now_ms: float | None = None,
    title: str = "Timeline",
) -> Timeline:
    """What the coordinator knows of these tasks: upstream's task states by id, composites with their children."""
    bars = [bar for task_id, task in flattened(tasks) for bar in _bars(task_id, task, topology)]
    kept = [event for event in events if event.get("taskId") is None or _concerns(str(event["taskId"]), tasks)]
    nodes = sorted({*topology.agents(), *(bar.node for bar in bars)})
    return Timeline(tuple(nodes), tuple(bars), marks_of(kept), rates_of(kept), now_ms, title)


def flattened(tasks: Mapping[str, Any]) -> Iterator[tuple[str, Json]]:
    """Each task, and in the place of a composite its children."""
    for task_id, task in tasks.items():
        status = task.get("status")
        children = status.get("children") if isinstance(status, dict) else None
        if isinstance(children, dict):
            yield from flattened(children)
        elif not _is_composite(task["spec"]):
            yield task_id, task


def _is_composite(spec: Json) -> bool:
    try:
        return REGISTRY.find(str(spec["class"])).is_composite
    except SpecError:
        return False


def _concerns(task_id: str, tasks: Mapping[str, Any]) -> bool:
    return task_id in tasks or task_id.rpartition("/")[0] in tasks


def what_of(spec: Json) -> str:
    """A spec's class in short: ``NetworkPartition``."""
    return str(spec["class"]).rpartition(".")[2].removesuffix("Spec").removesuffix("Fault")


def detail_of(spec: Json) -> str:
    """What a spec asks for, but for class and times, as short as its JSON can be."""
    fields = {name: value for name, value in spec.items() if name not in ("class", "startMs", "durationMs")}
    text = json.dumps(fields, ensure_ascii=False, separators=(", ", ": "))
    return "" if text == "{}" else text if len(text) <= MAX_DETAIL else text[:MAX_DETAIL] + "…"


def _bars(task_id: str, task: Json, topology: Topology) -> Iterator[Bar]:
    try:
        spec = parse(task["spec"])
        nodes = spec.target_nodes(topology)
    except (SpecError, ValidationError):
        return
    statuses = read_statuses(task.get("status"), nodes)
    for node in nodes:
        yield _bar(task_id, node, spec, task, statuses.get(node))


def _bar(task_id: str, node: str, spec: Spec, task: Json, status: FaultStatus | None) -> Bar:
    error = str(task.get("error") or "")
    asked = (float(spec.start_ms), float(spec.end_ms))
    what, detail = what_of(task["spec"]), detail_of(task["spec"])
    done_ms = _moment(task.get("doneMs")) if task.get("state") == "DONE" else None
    stopped_ms = done_ms if task.get("cancelled") else None
    if status is None:
        seen = (_moment(task.get("startedMs")), done_ms)
        return Bar(task_id, node, what, *asked, *seen, _outcome(task, error), detail, error, stopped_ms=stopped_ms)
    asked = (status.asked_start_ms or asked[0], status.asked_end_ms or asked[1])
    outcome, note = _verdict(status, error)
    has_begun, is_gone = status.seen_start_ms is not None, status.seen_end_ms is not None
    end_ms = status.seen_end_ms if is_gone else max(done_ms, asked[0]) if done_ms is not None else None
    return Bar(
        task_id, node, what, *asked, status.seen_start_ms, end_ms if has_begun else None, outcome, detail, note,
        seen_gone=is_gone, undone_by=status.undone_by or "", via=status.via, stopped_ms=stopped_ms,
    )  # fmt: skip


def _outcome(task: Json, error: str) -> Outcome:
    if error:
        return "failed"
    states: dict[str, Outcome] = {"RUNNING": "running", "STOPPING": "running", "DONE": "done"}
    return states.get(str(task.get("state")), "planned")


def _verdict(status: FaultStatus, error: str) -> tuple[Outcome, str]:
    note = status.verdict.partition(":")[2].strip() or error
    known: dict[str, Outcome] = {"seen": "seen", "not seen": "not seen", "unverified": "unverified", "armed": "armed"}
    return known.get(status.outcome, "unverified"), note


def _moment(at_ms: Any) -> float | None:
    return float(at_ms) if isinstance(at_ms, int | float) and at_ms > 0 else None


def marks_of(events: Iterable[Json]) -> tuple[Mark, ...]:
    """Users' marks, and nodes that went away and came back."""
    return tuple(mark for event in events for mark in _marks(event))


def _marks(event: Json) -> Iterator[Mark]:
    kind, at_ms = event.get("type"), float(event.get("atMs", 0))
    if kind == "mark":
        text = str(event.get("text", ""))
        yield Mark(at_ms, text, bad=text.startswith("check failed"))
    elif kind == "node-down":
        yield Mark(at_ms, f"{event.get('node')} is gone", bad=True)


def rates_of(events: Iterable[Json]) -> tuple[Rate, ...]:
    """How fast each workload went, by what its events say it had done."""
    found: dict[str, list[Sample]] = {}
    for event in events:
        sample = sampled(event)
        if sample is not None:
            name = " ".join(str(event[key]) for key in ("taskId", "node") if event.get(key))
            found.setdefault(name, []).append(sample)
    return tuple(rate for name, samples in found.items() for rate in rates(name, samples))
