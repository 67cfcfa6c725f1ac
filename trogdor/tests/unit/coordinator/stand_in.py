"""A light agent that speaks the real wire: arms, fires, ends and reports NoOps; tests make it fail in every way."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from trogdor.http.app import Application, Endpoint, query_long
from trogdor.http.message import Request
from trogdor.http.server import Server, bind
from trogdor.http.sse import Event, EventStream, Feed
from trogdor.instant import Clock
from trogdor.wire import messages
from trogdor.wire.errors import Conflict
from trogdor.wire.messages import (
    ArmWorkerRequest,
    CreateWorkerRequest,
    Empty,
    LeaseRequest,
    StopWorkerRequest,
    worker_state,
)

NS_PER_MS = 1_000_000


@dataclass
class Held:
    """One worker as the stand-in has it."""

    request: ArmWorkerRequest | CreateWorkerRequest
    state: messages.WorkerPhase = "STARTING"
    started_ms: int = -1
    done_ms: int = -1
    status: Any = None
    error: str = ""
    timers: list[asyncio.TimerHandle] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        return worker_state(
            self.state,
            self.request.task_id,
            self.request.spec.to_json(),
            started_ms=self.started_ms,
            done_ms=self.done_ms,
            status=self.status,
            error=self.error,
        )


class StandIn:
    """``start`` it on a port, ``kill`` it, start it again; ``java`` ones have upstream's routes alone."""

    def __init__(self, name: str, *, java: bool = False, clock: Clock | None = None) -> None:
        self.name = name
        self.java = java
        self.clock = clock or Clock()
        self.workers: dict[int, Held] = {}
        self.asked: list[tuple[str, str]] = []
        self.fired: list[int] = []
        self.fail_at_start: dict[str, str] = {}
        """Task id → the error with which its worker ends at once."""
        self.overdue: list[Any] = []
        """What it says that it could not undo."""
        self.busy_s = 0.0
        """How long it takes to prepare its next worker."""
        self.deaf = False
        """Takes stops and does nothing."""
        self.lease_answer: Any = None
        """What a lease is answered with, if not as it should be."""
        self.frozen = False
        self.commands = ["*"]
        """The programs that it may run."""
        self.further_features: dict[str, Any] = {}
        self.port = 0
        self._server: Server | None = None
        self._feeds: set[Feed] = set()

    async def start(self) -> None:
        sockets = bind(["127.0.0.1"], self.port)
        self.port = sockets[0].getsockname()[1]
        self.started_ms = self.clock.wall_ms()
        self._server = Server(Application(self._endpoints(), {"localhost"}))
        await self._server.listen(sockets)

    async def kill(self) -> None:
        """As SIGKILL: its workers are gone with it."""
        for held in self.workers.values():
            for timer in held.timers:
                timer.cancel()
        self.workers = {}
        for feed in list(self._feeds):
            feed.close()
        if self._server is not None:
            await self._server.close(grace_s=0)
            self._server = None

    def _endpoints(self) -> list[Endpoint]:
        upstream = [
            Endpoint("GET", "/agent/status", self._status, ""),
            Endpoint("GET", "/agent/uptime", self._uptime, ""),
            Endpoint("POST", "/agent/worker/create", self._create, "", CreateWorkerRequest),
            Endpoint("PUT", "/agent/worker/stop", self._stop, "", StopWorkerRequest),
            Endpoint("DELETE", "/agent/worker", self._destroy, ""),
        ]
        ours = [
            Endpoint("GET", "/agent/features", self._features, ""),
            Endpoint("POST", "/agent/worker/arm", self._arm, "", ArmWorkerRequest),
            Endpoint("POST", "/agent/lease", self._lease, "", LeaseRequest),
            Endpoint("GET", "/agent/events", self._events, ""),
            Endpoint("PUT", "/agent/freeze", self._freeze, "", Empty),
            Endpoint("PUT", "/agent/thaw", self._thaw, "", Empty),
        ]
        return upstream if self.java else upstream + ours

    def _log(self, request: Request) -> None:
        self.asked.append((request.method, request.path))

    async def _status(self, request: Request, _body: None) -> Any:
        self._log(request)
        return messages.agent_status(self.started_ms, {key: held.shown() for key, held in self.workers.items()})

    async def _uptime(self, _request: Request, _body: None) -> Any:
        return messages.uptime(self.started_ms, self.clock.wall_ms())

    async def _features(self, _request: Request, _body: None) -> Any:
        names = {"version": "0", "platform": "stand-in", "nodeName": self.name}
        return {**names, "probePorts": {self.name: 1}, "commands": {self.name: self.commands}, **self.further_features}

    async def _lease(self, _request: Request, body: LeaseRequest) -> Any:
        if self.lease_answer is not None:
            return self.lease_answer
        times = {"bootNs": self.clock.boot_ns(), "wallMs": self.clock.wall_ms()}
        return {**times, "bootId": "b", "epoch": 1, "overdue": self.overdue, "frozen": self.frozen}

    async def _freeze(self, _request: Request, _body: Empty) -> None:
        self.frozen = True

    async def _thaw(self, _request: Request, _body: Empty) -> None:
        self.frozen = False

    async def _events(self, _request: Request, _body: None) -> Any:
        return EventStream(self._follow())

    async def _follow(self) -> AsyncGenerator[Event, None]:
        feed = Feed()
        self._feeds.add(feed)
        try:
            yield Event("hello", {"workers": {str(key): held.shown() for key, held in self.workers.items()}})
            async for event in feed:
                yield event
        finally:
            self._feeds.discard(feed)

    def _tell(self, worker_id: int) -> None:
        shown = {"workerId": worker_id, "worker": self.workers[worker_id].shown()}
        for feed in self._feeds:
            feed.put(Event("worker", shown))

    async def _arm(self, request: Request, body: ArmWorkerRequest) -> Any:
        self._log(request)
        busy_s, self.busy_s = self.busy_s, 0.0
        await asyncio.sleep(busy_s)
        held = self.workers.get(body.worker_id)
        if held is None:
            held = self.workers[body.worker_id] = Held(body)
            if body.end_ns <= self.clock.boot_ns():
                self.end(body.worker_id, "worker expired")
                return {"bootNs": self.clock.boot_ns(), "state": held.state}
            now_ns = self.clock.boot_ns()
            self._later(held, body.start_ns - now_ns, self._fire, body.worker_id)
            self._later(held, body.end_ns - now_ns, self._end, body.worker_id)
        elif held.request.task_id != body.task_id:
            raise Conflict(f"There is already a worker ID {body.worker_id} with a different task ID.")
        return {"bootNs": self.clock.boot_ns(), "state": held.state}

    async def _create(self, request: Request, body: CreateWorkerRequest) -> None:
        self._log(request)
        busy_s, self.busy_s = self.busy_s, 0.0
        await asyncio.sleep(busy_s)
        if body.worker_id not in self.workers:
            held = self.workers[body.worker_id] = Held(body)
            if body.spec.end_ms <= self.clock.wall_ms():  # as Java has it: started and done at once
                held.state, held.error, held.status = "DONE", "worker expired", None
                held.started_ms = held.done_ms = self.clock.wall_ms()
                return
            self._fire(body.worker_id)
            left_ms = body.spec.end_ms - self.clock.wall_ms()
            self._later(held, left_ms * NS_PER_MS, self._end, body.worker_id)

    def _later(self, held: Held, wait_ns: int, call: Any, worker_id: int) -> None:
        loop = asyncio.get_running_loop()
        held.timers.append(loop.call_later(min(max(0, wait_ns) / 1e9, 1e6), call, worker_id))

    def _fire(self, worker_id: int) -> None:
        held = self.workers[worker_id]
        self.fired.append(worker_id)
        held.state, held.started_ms, held.status = "RUNNING", self.clock.wall_ms(), "active"
        self._tell(worker_id)
        if (error := self.fail_at_start.get(held.request.task_id)) is not None:
            self.end(worker_id, error)

    def _end(self, worker_id: int) -> None:
        self.end(worker_id)

    def end(self, worker_id: int, error: str = "") -> None:
        """Ends a worker and says so."""
        held = self.workers.get(worker_id)
        if held is None or held.state == "DONE":
            return
        for timer in held.timers:
            timer.cancel()
        held.state, held.done_ms, held.error = "DONE", self.clock.wall_ms(), error
        held.status = "done" if held.started_ms >= 0 else None
        self._tell(worker_id)

    def report(self, worker_id: int, status: Any) -> None:
        """Has a worker report a status, as a workload does while it runs."""
        self.workers[worker_id].status = status
        self._tell(worker_id)

    async def _stop(self, request: Request, body: StopWorkerRequest) -> None:
        self._log(request)
        if not self.deaf:
            self.end(body.worker_id)

    async def _destroy(self, request: Request, _body: None) -> None:
        self._log(request)
        held = self.workers.pop(query_long(request, "workerId"), None)
        for timer in held.timers if held else ():
            timer.cancel()
