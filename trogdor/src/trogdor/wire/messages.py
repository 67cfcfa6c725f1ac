"""The requests of both daemons and the states they report, with upstream's names, defaults and order of keys."""

import ipaddress
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, SerializeAsAny

from trogdor.spec import Document, Spec
from trogdor.spec.jackson import Boolean, Long, MapOf, String

Json = Any

REST = "org.apache.kafka.trogdor.rest."

WorkerPhase = Literal["RECEIVING", "STARTING", "RUNNING", "STOPPING", "DONE"]
TaskPhase = Literal["PENDING", "RUNNING", "STOPPING", "DONE"]
TASK_PHASES: tuple[TaskPhase, ...] = ("PENDING", "RUNNING", "STOPPING", "DONE")


class Message(Document):
    """A request: read by ``wire.read``, written by ``to_json``."""

    java_name: ClassVar[str] = ""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.java_name = REST + cls.__name__


class CreateWorkerRequest(Message):
    """Starts a worker at once."""

    task_id: String = Field("", description="The task it is a share of.")
    worker_id: Long = Field(0, description="The worker's id, of the coordinator's choosing.")
    spec: SerializeAsAny[Spec] = Field(description="What to do.")


class StopWorkerRequest(Message):
    """Stops a worker; unknown ids are ignored."""

    worker_id: Long = Field(0, description="The worker.")


class Peer(Document):
    """Where another node's probe answers."""

    addresses: tuple[str, ...] = Field((), max_length=256, description="The node's addresses.")
    probe_port: int = Field(0, ge=0, le=65535, description="Its agent's probe port, UDP and TCP; 0: none.")


def _address(text: str) -> str:
    """It is to stand in rules: an address without a zone, which could hold anything."""
    if text and "%" in text:
        raise ValueError("an address without a zone is wanted")
    return text and str(ipaddress.ip_address(text))


Address = Annotated[str, AfterValidator(_address)]
"""An IP address; empty where a Unix socket has none."""


class ArmWorkerRequest(Message):
    """Prepares a worker ahead of its instant, under its coordinator's lease (ours)."""

    worker_id: int
    task_id: str = Field(min_length=1, max_length=1000)
    coordinator: str = Field("", max_length=200, description="Whose lease keeps it armed: the id of POST /agent/lease.")
    node_name: str = Field("", max_length=253, description="Which of this agent's places; empty: its own node.")
    spec: SerializeAsAny[Spec] = Field(description="What to do.")
    start_ns: int = Field(ge=0, lt=2**62, description="When it starts, in ns of this agent's CLOCK_BOOTTIME.")
    end_ns: int = Field(ge=0, lt=2**62, description="When it ends, in the same.")
    lease_ns: int = Field(
        10_000_000_000, gt=0, lt=2**62, description="Not fired when the coordinator was silent so long."
    )
    wall_offset_ns: int = Field(0, description="This plus CLOCK_BOOTTIME of the agent is the coordinator's wall clock.")
    peers: Annotated[dict[str, Peer], MapOf] = Field({}, description="Node → where its probe answers.")
    exempt: tuple[Address, ...] = Field((), max_length=256, description="The coordinator's addresses: never cut off.")


class PlanRequest(Message):
    """Asks what a spec would do to a node; changes nothing (ours)."""

    node_name: str = Field("", max_length=253, description="Which of this agent's places; empty: its own node.")
    spec: SerializeAsAny[Spec] = Field(description="What would be done.")


class LeaseRequest(Message):
    """Renews the lease of every worker armed by a coordinator; a sample of the clocks' offset (ours)."""

    coordinator: str = Field(min_length=1, max_length=200)
    sent_ns: int = Field(0, description="The coordinator's own clock at sending; comes back as it is.")


class CreateTaskRequest(Message):
    """Creates a task."""

    id: String = Field("", description="The task's id.")
    spec: SerializeAsAny[Spec] = Field(description="What to do, where and when.")


class StopTaskRequest(Message):
    """Stops a task; unknown ids are ignored."""

    id: String = ""


class CoordinatorShutdownRequest(Message):
    """Shuts the coordinator down."""

    stop_agents: Boolean = Field(False, description="The agents too.")


class Empty(Message):
    """A request without fields of its own."""


def worker_state(
    state: WorkerPhase,
    task_id: str,
    spec: Json,
    *,
    started_ms: int = -1,
    done_ms: int = -1,
    status: Json = None,
    error: str = "",
) -> dict[str, Json]:
    """A worker as ``GET /agent/status`` shows it (upstream's WorkerState): each phase has the keys upstream writes.

    A worker that was never started has ``startedMs`` −1.
    """
    shown: dict[str, Json] = {"state": state}
    if task_id:
        shown["taskId"] = task_id
    shown["spec"] = spec
    if state in ("RUNNING", "STOPPING", "DONE"):
        shown["startedMs"] = started_ms
        if state == "DONE":
            shown["doneMs"] = done_ms
        shown["status"] = status
    if state == "DONE" and error:
        shown["error"] = error
    return shown


def task_state(
    state: TaskPhase,
    spec: Json,
    *,
    started_ms: int = -1,
    done_ms: int = -1,
    error: str = "",
    cancelled: bool = False,
    status: Json = None,
    has_status: bool = True,
) -> dict[str, Json]:
    """A task as ``GET /coordinator/tasks`` shows it (upstream's TaskState), keys in upstream's order.

    ``has_status=False`` leaves the status out, as upstream does for tasks that never had a worker.
    """
    shown: dict[str, Json] = {"state": state, "spec": spec}
    if state != "PENDING":
        shown["startedMs"] = started_ms
    if state == "DONE":
        shown["doneMs"] = done_ms
        if error:
            shown["error"] = error
        shown["cancelled"] = cancelled
    if has_status:
        shown["status"] = status
    return shown


def agent_status(server_start_ms: int, workers: dict[int, Json]) -> dict[str, Json]:
    """The answer of ``GET /agent/status``; without workers the key is left out."""
    shown: dict[str, Json] = {"serverStartMs": server_start_ms}
    if workers:
        shown["workers"] = {str(worker_id): workers[worker_id] for worker_id in sorted(workers)}
    return shown


def uptime(server_start_ms: int, now_ms: int) -> dict[str, Json]:
    """The answer of ``GET /agent/uptime`` and ``GET /coordinator/uptime``."""
    return {"serverStartMs": server_start_ms, "nowMs": now_ms}
