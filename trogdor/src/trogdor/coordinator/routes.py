"""The coordinator's routes: upstream's, and ours beside them."""

import asyncio
from typing import Any

from pydantic import Field

from trogdor.client.errors import ClientError
from trogdor.coordinator import admission
from trogdor.coordinator.leases import UNHEARD_S, Leases
from trogdor.coordinator.state import Phase, State, Task, is_fault
from trogdor.coordinator.tasks import Tasks
from trogdor.http.app import Endpoint, query_long
from trogdor.http.message import Request, Response
from trogdor.http.server import close_when_unheard
from trogdor.http.sse import EventStream
from trogdor.wire import messages
from trogdor.wire.errors import BadRequest, NotFound, Unavailable
from trogdor.wire.messages import (
    CoordinatorShutdownRequest,
    CreateTaskRequest,
    Empty,
    Message,
    StopTaskRequest,
)

HEAL_S = 10.0
MEET_S = 3.0
"""How long a check waits for agents that have not been met."""
MEET_STEP_S = 0.05


class CheckTaskRequest(Message):
    """As a create; nothing is changed (ours)."""

    id: str = ""
    document: Any = Field(None, alias="spec", description="What to do, where and when; read here, not before.")


class MarkRequest(Message):
    """A user's mark in the events (ours)."""

    text: str = Field(min_length=1, max_length=10_000, description="What the events are to say.")


class FreezeRequest(Message):
    """Refuses new faults, or allows them again (ours)."""

    node_names: tuple[str, ...] = Field((), description="On the agents of these nodes; none: here, for all nodes.")


class Routes:
    """What each route does."""

    def __init__(self, tasks: Tasks, leases: Leases, server_start_ms: int, ended: "asyncio.Future[bool]") -> None:
        self.tasks = tasks
        self.leases = leases
        self.server_start_ms = server_start_ms
        self._ended = ended

    def endpoints(self) -> list[Endpoint]:
        """The table."""
        task_filters = {
            "taskId": "Only these tasks.",
            "state": "Only tasks in this state.",
            "firstStartMs": "Only those started then or later.",
            "lastStartMs": "Only those started then or earlier.",
            "firstEndMs": "Only those done then or later.",
            "lastEndMs": "Only those done then or earlier.",
        }
        one_task = {"taskId": "The task."}
        one_lease = {"id": "The lease."}
        positions = {"after": "Only events after this number.", "limit": "At most so many."}
        return [
            Endpoint("GET", "/coordinator/status", self.status, "When the coordinator started."),
            Endpoint("GET", "/coordinator/uptime", self.uptime, "When it started and what time it is."),
            Endpoint("POST", "/coordinator/task/create", self.create, "Creates a task.", CreateTaskRequest),
            Endpoint("PUT", "/coordinator/task/stop", self.stop, "Stops a task.", StopTaskRequest),
            Endpoint("DELETE", "/coordinator/tasks", self.destroy, "Destroys a task.", query=one_task),
            Endpoint("GET", "/coordinator/tasks", self.list, "Shows tasks.", query=task_filters),
            Endpoint("GET", "/coordinator/tasks/{taskId}", self.show, "Shows one task."),
            Endpoint(
                "PUT",
                "/coordinator/shutdown",
                self.shutdown,
                "Ends every fault, then the coordinator.",
                CoordinatorShutdownRequest,
                may_be_empty=True,
            ),
            Endpoint("POST", "/coordinator/task/check", self.check, "Finds what is wrong.", CheckTaskRequest),
            Endpoint("POST", "/coordinator/task/plan", self.plan, "What it would do to each node.", CheckTaskRequest),
            Endpoint("GET", "/coordinator/task/children", self.children, "A composite's tasks.", query=one_task),
            Endpoint("GET", "/coordinator/lease", self.hold_lease, "Holds a lease.", query=one_lease),
            Endpoint("DELETE", "/coordinator/lease", self.end_lease, "Ends a lease and its tasks.", query=one_lease),
            Endpoint("GET", "/coordinator/events", self.events, "What happened, in order.", query=positions),
            Endpoint("GET", "/coordinator/nodes", self.nodes, "The nodes and how they are."),
            Endpoint("GET", "/coordinator/faults", self.faults, "What is in force now, and until when."),
            Endpoint("PUT", "/coordinator/heal", self.heal, "Stops every task.", Empty),
            Endpoint("PUT", "/coordinator/freeze", self.freeze, "Refuses new faults.", FreezeRequest),
            Endpoint("PUT", "/coordinator/thaw", self.thaw, "Allows them again.", FreezeRequest),
            Endpoint("POST", "/coordinator/mark", self.mark, "Writes a mark.", MarkRequest),
        ]

    async def status(self, _request: Request, _body: None) -> Any:
        return {"serverStartMs": self.server_start_ms}

    async def uptime(self, _request: Request, _body: None) -> Any:
        return messages.uptime(self.server_start_ms, self.tasks.clock.wall_ms())

    async def create(self, request: Request, body: CreateTaskRequest) -> None:
        lease = self.leases.require(request.header(b"trogdor-lease"))
        await self.tasks.create(body.id, body.spec, lease)

    async def stop(self, _request: Request, body: StopTaskRequest) -> None:
        await self.tasks.stop(body.id)

    async def destroy(self, request: Request, _body: None) -> None:
        await self.tasks.destroy(request.param("taskId"))

    async def show(self, request: Request, _body: None) -> Response:
        task = self._find(request.path_params["taskId"])
        return Response(task.shown())

    async def list(self, request: Request, _body: None) -> Response:
        by_id, ids = self.tasks.by_id, request.params("taskId")
        tasks = [by_id[each] for each in sorted({*ids} & by_id.keys())] if ids else self.tasks.sorted()
        return _shown(_filtered(request, tasks) if request.query else tasks)

    async def children(self, request: Request, _body: None) -> Response:
        return _shown(self._find(request.param("taskId")).children or [])

    def _find(self, task_id: str) -> Task:
        task = self.tasks.by_id.get(task_id)
        if task is None:
            raise NotFound(f'No task with ID "{task_id}" exists.')
        return task

    async def shutdown(self, _request: Request, body: CoordinatorShutdownRequest) -> None:
        if not self._ended.done():
            self._ended.set_result(body.stop_agents)

    async def check(self, _request: Request, body: CheckTaskRequest) -> Any:
        problems, names = admission.problems_of(body.document, self.tasks.cluster)
        waited_s = 0.0
        while waited_s < MEET_S and any(not self.tasks.agents[name].up for name in names):
            await asyncio.sleep(MEET_STEP_S)
            waited_s += MEET_STEP_S
            problems, names = admission.problems_of(body.document, self.tasks.cluster)
        if not body.id:
            problems.insert(0, {"path": "id", "message": "Invalid empty ID in createTask request.", "kind": "spec"})
        if self.tasks.identity.frozen:
            frozen = "frozen: new faults are refused until `trogdor thaw`"
            problems.append({"path": "", "message": frozen, "kind": "impossible"})
        return {"problems": problems, "nodes": names}

    async def plan(self, request: Request, body: CheckTaskRequest) -> Any:
        """As check, and what each node's agent answers to ``POST /agent/plan``."""
        checked = await self.check(request, body)
        if not checked["problems"]:
            names = checked["nodes"]
            plans = await asyncio.gather(*(self.tasks.agents[name].plan(body.document) for name in names))
            checked["plans"] = dict(zip(names, plans, strict=True))
        return checked

    async def hold_lease(self, request: Request, _body: None) -> Response:
        close_when_unheard(request, UNHEARD_S)
        return EventStream(await self.leases.hold(request.param("id")))

    async def end_lease(self, request: Request, _body: None) -> Any:
        return await self.leases.end(request.param("id"))

    async def events(self, request: Request, _body: None) -> Any:
        after = query_long(request, "after")
        if "text/event-stream" in request.header(b"accept"):
            last = request.header(b"last-event-id")
            return EventStream(self.tasks.events.follow(int(last) if last.isdecimal() else after))
        return {"events": await self.tasks.events.after(after, query_long(request, "limit"))}

    async def nodes(self, _request: Request, _body: None) -> Any:
        return {"nodes": {name: agent.shown() for name, agent in sorted(self.tasks.agents.items())}}

    async def faults(self, _request: Request, _body: None) -> Any:
        tasks = self.tasks
        now_ns, now_ms = tasks.clock.boot_ns(), tasks.clock.wall_ms()
        running = [
            {
                "taskId": worker.task.id,
                "node": worker.node,
                "class": worker.task.spec.class_name,
                "untilMs": now_ms + (worker.task.end_boot_ns - now_ns) // 1_000_000,
                "up": tasks.agents[worker.node].up,
                "status": worker.status,
            }
            for worker in tasks.live.values()
            if worker.phase is Phase.RUNNING and is_fault(worker.task.spec)
        ]
        overdue = [{**fault, "up": agent.up} for agent in tasks.agents.values() for fault in agent.overdue]
        return {
            "faults": running + overdue,
            "frozen": tasks.identity.frozen,
            "frozenNodes": sorted(name for name, agent in tasks.agents.items() if agent.frozen),
        }

    async def heal(self, _request: Request, _body: Empty) -> Any:
        return await self.tasks.heal(HEAL_S)

    async def freeze(self, _request: Request, body: FreezeRequest) -> None:
        await self._freeze(body.node_names, True)

    async def thaw(self, _request: Request, body: FreezeRequest) -> None:
        await self._freeze(body.node_names, False)

    async def _freeze(self, names: tuple[str, ...], frozen: bool) -> None:
        what, agents = "freeze" if frozen else "thaw", self.tasks.agents
        if unknown := [name for name in names if name not in agents]:
            raise BadRequest(f"Unknown node names: {', '.join(unknown)}")
        for name in names:
            try:
                await agents[name].freeze(frozen)
            except ClientError as error:
                raise Unavailable(f"node {name}: {what} was not taken: {error}") from None
            self.tasks.events.emit(what, node=name)
        if not names:
            self.tasks.events.emit(what)
            await self.tasks.identity.freeze(frozen)

    async def mark(self, _request: Request, body: MarkRequest) -> Any:
        self.tasks.events.emit("mark", source="user", text=body.text)
        await self.tasks.store.flush()
        return {"seq": self.tasks.events.last}


def _shown(tasks: "list[Task]") -> Response:
    if not tasks:
        return Response(b"{}")
    rows = b",".join([task.named() for task in tasks])
    return Response(b'{"tasks":{' + rows + b"}}")


def _filtered(request: Request, tasks: "list[Task]") -> "list[Task]":
    """As upstream's TasksRequest.matches: a bound that is 0 or less is none."""
    state = request.param("state")
    if state and state not in list(State):
        raise BadRequest(f"State {state} is invalid. Must be one of [{', '.join(State)}]")
    first_start, last_start, first_end, last_end = (
        query_long(request, name) for name in ("firstStartMs", "lastStartMs", "firstEndMs", "lastEndMs")
    )
    return [
        task
        for task in tasks
        if (not state or task.state == state)
        and (first_start <= 0 or task.started_ms >= first_start)
        and (last_start <= 0 or 0 <= task.started_ms <= last_start)
        and (first_end <= 0 or task.done_ms >= first_end)
        and (last_end <= 0 or 0 <= task.done_ms <= last_end)
    ]
