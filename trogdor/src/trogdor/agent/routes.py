"""The agent's routes: upstream's, and our own."""

import asyncio
from collections.abc import Callable
from typing import Any

from trogdor import __version__
from trogdor.agent import workers as refusing
from trogdor.agent import workloads
from trogdor.agent.metrics import Metrics
from trogdor.agent.place import AgentPlace
from trogdor.agent.workers import Setting, Workers
from trogdor.claim.ledger import Ledger
from trogdor.claim.model import Claim
from trogdor.claim.settle import boot_id
from trogdor.http.app import Endpoint, query_long
from trogdor.http.message import Request
from trogdor.http.openapi import with_docs
from trogdor.http.sse import EventStream
from trogdor.spec import REGISTRY
from trogdor.spec.task import NoOpTaskSpec
from trogdor.wire import messages
from trogdor.wire.messages import (
    ArmWorkerRequest,
    CreateWorkerRequest,
    Empty,
    LeaseRequest,
    PlanRequest,
    StopWorkerRequest,
)

Json = Any


class Routes:
    """What each route of an agent does."""

    def __init__(
        self, setting: Setting, workers: Workers, shut_down: Callable[[], None], notes: dict[str, str]
    ) -> None:
        """``notes``: what is missing on this machine, and why that matters."""
        self._of = setting
        self._workers = workers
        self._shut_down = shut_down
        self._notes = notes
        self._start_ms = setting.clock.wall_ms()

    def table(self) -> list[Endpoint]:
        """Every route."""
        return with_docs(
            "Trogdor agent",
            [
                Endpoint("GET", "/agent/status", self.status, "The agent's workers."),
                Endpoint("GET", "/agent/uptime", self.uptime, "When it was started, and its clock."),
                Endpoint("POST", "/agent/worker/create", self.create, "Starts a worker at once.", CreateWorkerRequest),
                Endpoint("PUT", "/agent/worker/stop", self.stop, "Stops a worker.", StopWorkerRequest),
                Endpoint("DELETE", "/agent/worker", self.destroy, "Stops a worker and forgets it.", query=_WORKER_ID),
                Endpoint("PUT", "/agent/shutdown", self.shutdown, "Ends every fault, then the agent."),
                Endpoint("GET", "/agent/features", self.features, "What this agent is and can do (ours)."),
                Endpoint("POST", "/agent/worker/arm", self.arm, "Prepares a worker ahead (ours).", ArmWorkerRequest),
                Endpoint("POST", "/agent/plan", self.plan, "What a spec would do to the node (ours).", PlanRequest),
                Endpoint("POST", "/agent/lease", self.lease, "Renews a coordinator's lease (ours).", LeaseRequest),
                Endpoint("GET", "/agent/events", self.events, "Changes of workers as they come (SSE; ours)."),
                Endpoint("GET", "/agent/faults", self.faults, "What is in force now, and until when (ours)."),
                Endpoint("PUT", "/agent/freeze", self.freeze, "Refuses new faults, durably (ours).", Empty),
                Endpoint("PUT", "/agent/thaw", self.thaw, "Allows faults again (ours).", Empty),
                *Metrics(self._of, self._workers).endpoints(),
            ],
        )

    async def status(self, request: Request, body: None) -> Json:
        return messages.agent_status(self._start_ms, self._workers.to_json())

    async def uptime(self, request: Request, body: None) -> Json:
        return messages.uptime(self._start_ms, self._of.clock.wall_ms())

    async def create(self, request: Request, body: CreateWorkerRequest) -> None:
        await self._workers.create(body, request.host or "")

    async def stop(self, request: Request, body: StopWorkerRequest) -> None:
        await self._workers.stop(body.worker_id)

    async def destroy(self, request: Request, body: None) -> None:
        await self._workers.destroy(query_long(request, "workerId"))

    async def shutdown(self, request: Request, body: None) -> None:
        self._shut_down()

    async def features(self, request: Request, body: None) -> Json:
        places = self._of.places
        await places.open_all()
        return {
            "version": __version__,
            "platform": self._of.platform.name,
            "nodeName": places.own.node.name,
            "places": places.served(),
            "probePorts": {name: place.eyes.port for name, place in places.open.items()},
            "classes": sorted(spec.class_name for spec in REGISTRY if self._carries_out(spec)),
            "missing": self._notes,
            "commands": places.allowed_programs(),
            "frozen": refusing.frozen(places.own),
            **self._boot(),
        }

    def _carries_out(self, spec: Any) -> bool:
        fault = self._of.platform.faults.get(spec)
        if fault is None:
            return spec is NoOpTaskSpec or workloads.supports(spec)
        return not fault.kinds or any(kind not in self._notes for kind in fault.kinds)

    def _boot(self) -> dict[str, Json]:
        return {"bootId": boot_id(), "epoch": self._of.places.own.ledger.epoch}

    async def arm(self, request: Request, body: ArmWorkerRequest) -> Json:
        worker = await self._workers.arm(body)
        return {"bootNs": self._of.clock.boot_ns(), "state": worker.phase}

    async def plan(self, request: Request, body: PlanRequest) -> Json:
        return await self._workers.preview(body)

    async def lease(self, request: Request, body: LeaseRequest) -> Json:
        self._workers.hear(body.coordinator)
        clock = self._of.clock
        answer = {"bootNs": clock.boot_ns(), "wallMs": clock.wall_ms(), **self._boot(), "sentNs": body.sent_ns}
        answer["frozen"] = refusing.frozen(self._of.places.own)
        overdue = self._shown_by_worker(Ledger.overdue)
        return answer | {"overdue": overdue} if overdue else answer

    async def events(self, request: Request, body: None) -> EventStream:
        return EventStream(self._workers.events())

    async def faults(self, request: Request, body: None) -> Json:
        shown = self._shown_by_worker(Ledger.in_force)
        return {"faults": shown, "frozen": refusing.frozen(self._of.places.own)}

    def _shown_by_worker(self, claims_of: Callable[[Ledger], list[Claim]]) -> list[Json]:
        return [
            self._shown(place, claims)
            for place in self._of.places.open.values()
            for claims in _by_worker(claims_of(place.ledger)).values()
        ]

    def _shown(self, place: AgentPlace, claims: list[Claim]) -> Json:
        term = claims[0].term
        worker = self._workers.find(term.worker_id)
        offset_ns = self._of.clock.wall_ns() - self._of.clock.boot_ns() if worker is None else worker.wall_offset_ns
        return {
            "node": place.node.name,
            "taskId": term.task_id,
            "workerId": term.worker_id,
            "class": worker.spec.class_name if worker else None,
            "startMs": (term.start_ns + offset_ns) // 1_000_000,
            "untilMs": (term.end_ns + offset_ns) // 1_000_000,
            "status": worker.work.status if worker else None,
            "overdue": any(claim in claims for claim in place.ledger.overdue()),
            "claims": [{"kind": claim.kind, "key": claim.key} for claim in claims],
        }

    async def freeze(self, request: Request, body: Empty) -> None:
        for place in self._of.places.open.values():
            await asyncio.to_thread(refusing.freeze, place)

    async def thaw(self, request: Request, body: Empty) -> None:
        for place in self._of.places.open.values():
            await asyncio.to_thread(refusing.thaw, place)


_WORKER_ID = {"workerId": "The worker."}


def _by_worker(claims: list[Claim]) -> dict[int, list[Claim]]:
    grouped: dict[int, list[Claim]] = {}
    for claim in claims:
        grouped.setdefault(claim.term.worker_id, []).append(claim)
    return grouped
