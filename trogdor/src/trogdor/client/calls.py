"""Each request of the REST interface as a value, shared by the sync and the async client."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict
from urllib.parse import quote, urlencode

Json = Any
"""A JSON value."""

MAX_ANSWER_BYTES = 256 << 20
"""No answer larger than this is read."""


class Task(TypedDict):
    """One task, as upstream's TaskState has it. Times are ms since the epoch by the coordinator's clock."""

    state: str
    """``PENDING``, ``RUNNING``, ``STOPPING`` or ``DONE``."""
    spec: dict[str, Json]
    status: NotRequired[Json]
    startedMs: NotRequired[int]
    doneMs: NotRequired[int]
    cancelled: NotRequired[bool]
    error: NotRequired[str]


@dataclass(frozen=True)
class Target:
    """Where a daemon listens: ``HOST:PORT``, or ``unix:PATH``."""

    host: str = "localhost"
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Reads ``HOST:PORT``, ``[IPV6]:PORT`` or ``unix:PATH``. Raises ValueError."""
        if text.startswith("unix:"):
            if len(text) == 5:
                raise ValueError("unix: needs a path after it, such as unix:/var/lib/trogdor/n0/coordinator.sock")
            return cls(path=text[5:])
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{text!r} is no target: HOST:PORT or unix:PATH is wanted, such as localhost:8889")
        return cls(host=host.removeprefix("[").removesuffix("]"), port=int(port))

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Call:
    """One request. ``headers`` are beside the client's own."""

    method: str
    path: str
    body: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)


def _with_query(path: str, query: Iterable[tuple[str, str | int | None]]) -> str:
    pairs = [(name, str(value)) for name, value in query if value is not None]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def create_task(task_id: str, spec: Mapping[str, Json], lease_id: str | None) -> Call:
    headers = {"Trogdor-Lease": lease_id} if lease_id else {}
    return Call("POST", "/coordinator/task/create", {"id": task_id, "spec": dict(spec)}, headers)


def check(task_id: str, spec: Mapping[str, Json]) -> Call:
    return Call("POST", "/coordinator/task/check", {"id": task_id, "spec": dict(spec)})


def plan_task(task_id: str, spec: Mapping[str, Json]) -> Call:
    return Call("POST", "/coordinator/task/plan", {"id": task_id, "spec": dict(spec)})


def plan(spec: Mapping[str, Json], node: str) -> Call:
    return Call("POST", "/agent/plan", {"nodeName": node, "spec": dict(spec)})


def freeze(daemon: str, verb: str, nodes: Sequence[str]) -> Call:
    return Call("PUT", f"/{daemon}/{verb}", {"nodeNames": list(nodes)} if nodes else {})


def task(task_id: str) -> Call:
    return Call("GET", f"/coordinator/tasks/{quote(task_id, safe='')}")


def tasks(
    ids: Sequence[str],
    state: str | None,
    start_ms: tuple[int | None, int | None],
    end_ms: tuple[int | None, int | None],
) -> Call:
    filters: list[tuple[str, str | int | None]] = [("taskId", task_id) for task_id in ids]
    filters += [("state", state), ("firstStartMs", start_ms[0]), ("lastStartMs", start_ms[1])]
    filters += [("firstEndMs", end_ms[0]), ("lastEndMs", end_ms[1])]
    return Call("GET", _with_query("/coordinator/tasks", filters))


def stop_task(task_id: str) -> Call:
    return Call("PUT", "/coordinator/task/stop", {"id": task_id})


def destroy_task(task_id: str) -> Call:
    return Call("DELETE", _with_query("/coordinator/tasks", [("taskId", task_id)]))


def children(task_id: str) -> Call:
    return Call("GET", _with_query("/coordinator/task/children", [("taskId", task_id)]))


def events(daemon: str, after: int | None, limit: int | None) -> Call:
    return Call("GET", _with_query(f"/{daemon}/events", [("after", after), ("limit", limit)]))


def lease(lease_id: str | None) -> Call:
    return Call("GET", _with_query("/coordinator/lease", [("id", lease_id)]))


def end_lease(lease_id: str) -> Call:
    return Call("DELETE", _with_query("/coordinator/lease", [("id", lease_id)]))


def create_worker(worker_id: int, task_id: str, spec: Mapping[str, Json]) -> Call:
    body = {"workerId": worker_id, "taskId": task_id, "spec": dict(spec)}
    return Call("POST", "/agent/worker/create", body)


def stop_worker(worker_id: int) -> Call:
    return Call("PUT", "/agent/worker/stop", {"workerId": worker_id})


def destroy_worker(worker_id: int) -> Call:
    return Call("DELETE", _with_query("/agent/worker", [("workerId", worker_id)]))
