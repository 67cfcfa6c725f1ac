"""Tasks and their workers as the coordinator knows them: a task's state is a fold over its workers'."""

import enum
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from trogdor.spec import Spec, parse
from trogdor.timeline.samples import Track

Json = Any


class State(enum.StrEnum):
    """Upstream's states of a task."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    DONE = "DONE"


class Phase(enum.StrEnum):
    """How far a worker has come; the store keeps the last one that its agent has acknowledged."""

    NEW = "NEW"
    """No agent has been told of it."""
    SHIPPED = "SHIPPED"
    """Its agent may have been told of it: from here on it may fire."""
    ARMED = "ARMED"
    """Its agent waits for the instant."""
    RUNNING = "RUNNING"
    """It has fired."""
    DONE = "DONE"
    """It is over, and nothing of it remains unless its error says so."""


@dataclass(eq=False, slots=True)
class Worker:
    """One node's share of a task."""

    id: int
    task: "Task"
    node: str
    phase: Phase = Phase.NEW
    started_ms: int = -1
    done_ms: int = -1
    status: Json = "receiving"
    error: str = ""
    shipped_boot_ns: int = 0
    """When its agent was last told of it, by our CLOCK_BOOTTIME; 0: not yet; −1: unknown, it is from the store."""
    late_ns: int = 0
    """How much later than its task it is to start and end, where its agent was too busy to be ready in time."""
    attempts: int = 0
    track: Track | None = None
    """Of a workload, how far it had come when; in memory alone, what of it was told is among the events."""

    def to_row(self) -> tuple[Any, ...]:
        """As the store keeps it, in the order of its columns."""
        return (
            self.id,
            self.task.seq,
            self.node,
            self.phase.value,
            self.started_ms,
            self.done_ms,
            self.error,
            dump(self.status),
        )

    @classmethod
    def from_row(cls, row: Mapping[str, Any], task: "Task") -> "Worker":
        """Reads back what ``to_row`` wrote."""
        return cls(
            id=row["id"],
            task=task,
            node=row["node"],
            phase=Phase(row["phase"]),
            started_ms=row["started_ms"],
            done_ms=row["done_ms"],
            status=json.loads(row["status"]),
            error=row["error"],
            shipped_boot_ns=0 if row["phase"] == Phase.NEW else -1,
        )


@dataclass(eq=False, slots=True)
class Task:
    """A spec with an id, a state, a place in time. ``original`` and ``effective`` are JSON texts of specs."""

    seq: int
    id: str
    original: str
    effective: str
    start_boot_ns: int
    end_boot_ns: int
    parent: int | None = None
    state: State = State.PENDING
    started_ms: int = -1
    done_ms: int = -1
    cancelled: bool = False
    destroyed: bool = False
    error: str = ""
    lease: str = ""
    workers: dict[str, Worker] = field(default_factory=dict)
    children: "list[Task] | None" = None
    """For a composite, its tasks once they are known."""
    found: list[dict[str, Any]] | None = None
    """For a composite whose nodes were asked for, whom it hit and how that was found, as asked last."""
    _spec: Spec | None = None
    _shown: bytes | None = None
    _named: bytes | None = None

    @property
    def spec(self) -> Spec:
        """What is asked for, at the instant it is asked for."""
        if self._spec is None:
            self._spec = parse(json.loads(self.effective))
        return self._spec

    @property
    def is_for_now(self) -> bool:
        """Whether no later time was asked for: the effective spec differs by its ``startMs`` alone."""
        return self.original != self.effective

    @property
    def active(self) -> list[Worker]:
        """The workers that are not done."""
        return [worker for worker in self.workers.values() if worker.phase is not Phase.DONE]

    def all_active(self) -> Iterator[Worker]:
        """The workers that are not done, its own and its children's."""
        yield from self.active
        for child in self.children or ():
            yield from child.all_active()

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self.state is State.DONE

    def touch(self) -> None:
        """To be called after every change: what is shown is made anew."""
        self._shown = self._named = None

    def shown(self) -> bytes:
        """As upstream's TaskState in JSON, kept until something changes."""
        if self._shown is None:
            self._shown = self._show().encode()
        return self._shown

    def named(self) -> bytes:
        """``"id":shown``, as one row of ``GET /coordinator/tasks``."""
        if self._named is None:
            self._named = dump(self.id).encode() + b":" + self.shown()
        return self._named

    def _show(self) -> str:
        parts = [f'{{"state":"{self.state}","spec":{self.effective}']
        if self.state is not State.PENDING:
            parts.append(f'"startedMs":{self.started_ms}')
        if self.state is State.DONE:
            parts.append(f'"doneMs":{self.done_ms}')
            if self.error:
                parts.append(f'"error":{dump(self.error)}')
            parts.append(f'"cancelled":{"true" if self.cancelled else "false"}')
        if self.state is State.PENDING:
            parts.append('"status":null')
        elif self.started_ms >= 0:
            parts.append(f'"status":{dump(self.status())}')
        return ",".join(parts) + "}"

    def status(self) -> Json:
        """One node: its worker's own; many: node → status. A composite shows its children, by id."""
        if self.children is not None:
            found = {"found": self.found} if self.found else {}
            return {**found, "children": {child.id: json.loads(child.shown()) for child in self.children}}
        if len(self.workers) == 1:
            return next(iter(self.workers.values())).status
        return {node: worker.status for node, worker in sorted(self.workers.items())}

    def to_row(self) -> tuple[Any, ...]:
        """As the store keeps it, in the order of its columns."""
        return (
            self.seq,
            self.id,
            self.parent,
            self.original,
            self.effective,
            self.state.value,
            self.started_ms,
            self.done_ms,
            self.cancelled,
            self.destroyed,
            self.error,
            self.lease,
            dump({worker.node: worker.id for worker in self.workers.values()}),
        )


def is_fault(spec: Spec) -> bool:
    """Whether a spec disturbs anything: all but workloads and NoOp."""
    return ".workload." not in spec.class_name and ".task." not in spec.class_name


def dump(value: Json) -> str:
    """JSON as upstream writes it: compact, keys in their order."""
    return to_json(value).decode()
