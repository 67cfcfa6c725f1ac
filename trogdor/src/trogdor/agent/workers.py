"""The workers of an agent: created, armed, stopped, forgotten; coordinators' leases; who wants to hear of changes."""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from trogdor.agent import workloads
from trogdor.agent.command import RunCommand, Spawner
from trogdor.agent.fault import InjectFault, Injection
from trogdor.agent.place import AgentPlace, Places
from trogdor.agent.work import Json, NoOp, Refused, Work
from trogdor.agent.worker import Lease, Lives, Worker
from trogdor.claim.model import CannotInject, Term
from trogdor.http.sse import Event, Feed
from trogdor.instant import NS_PER_MS, Clock, FiringThread
from trogdor.metrics import FaultFigures
from trogdor.platform.base import Platform, Scene
from trogdor.platform.preview import preview
from trogdor.spec import Spec
from trogdor.spec.task import NoOpTaskSpec
from trogdor.topology import Topology
from trogdor.wire.errors import BadRequest, Conflict, Unavailable
from trogdor.wire.messages import ArmWorkerRequest, CreateWorkerRequest, Peer, PlanRequest

log = logging.getLogger(__name__)

MAX_WORKERS = 10_000
MAX_COORDINATORS = 1000
STOP_ANSWER_S = 1.0
"""How long a stop waits for the end before it answers."""
NOT_SUPPORTED = "not supported by this version"


@dataclass(frozen=True)
class Setting:
    """What workers are made with."""

    clock: Clock
    firing: FiringThread
    topology: Topology
    platform: Platform
    places: Places
    spawner: Spawner
    port: int
    """Our own listening port: flows between it and the coordinator are never cut."""


class Workers:
    """Every worker of this agent, by id. Only the event loop touches it."""

    def __init__(self, setting: Setting) -> None:
        self._of = setting
        self._workers: dict[int, Worker] = {}
        self._heard: dict[str, int] = {}
        self._feeds: set[Feed] = set()
        self._lives = Lives(setting.clock, setting.firing, lambda who: self._heard.get(who, 0), self._changed)
        self._closing = False
        self.figures = FaultFigures()

    def states(self) -> Counter[str]:
        """How many workers are in each state."""
        return Counter(worker.phase for worker in self._workers.values())

    def to_json(self) -> dict[int, Json]:
        """Every worker as ``GET /agent/status`` shows it."""
        return {worker.id: worker.to_json() for worker in self._workers.values()}

    async def create(self, request: CreateWorkerRequest, caller: str) -> None:
        """Starts a worker at once, as upstream; answers when it runs. ``caller`` is never cut off. Raises Conflict."""
        if self._known(request.worker_id, request.task_id, request.spec):
            return
        clock = self._of.clock
        now_ns, now_ms = clock.boot_ns(), clock.wall_ms()
        offset_ns = clock.wall_ns() - now_ns
        left_ms = request.spec.end_ms - now_ms
        term = Term(request.task_id, request.worker_id, now_ns, now_ns + left_ms * NS_PER_MS)
        place, asked_ns = self._of.places.own, request.spec.start_ms * NS_PER_MS - offset_ns
        work = _ended_before(place, term.worker_id, asked_ns, offset_ns) or self._work_of(
            request.spec, term, place, wall_offset_ns=offset_ns, peers={}, exempt=(caller.partition("%")[0],)
        )
        worker = Worker(term, request.spec, work, offset_ns)
        self._begin(worker)
        await worker.settled.wait()

    async def arm(self, request: ArmWorkerRequest) -> Worker:
        """Prepares a worker; answers when its claims are on disk, or it is done. Raises Conflict, BadRequest."""
        self.hear(request.coordinator)
        known = self._known(request.worker_id, request.task_id, request.spec)
        if known is None:
            place = await self._place(request.node_name)
            known = self._known(request.worker_id, request.task_id, request.spec) or self._begin_armed(request, place)
        await known.prepared.wait()
        return known

    async def preview(self, request: PlanRequest) -> Json:
        """What a spec would do to one of this agent's places; changes nothing. Raises BadRequest."""
        place = await self._place(request.node_name)
        scene = Scene(place.node, self._of.topology, place.place, probe_ports={place.node.name: place.eyes.port})
        return await asyncio.to_thread(preview, self._of.platform, request.spec, scene)

    async def _place(self, name: str) -> AgentPlace:
        try:
            return await self._of.places.find(name)
        except KeyError:
            served = ", ".join(self._of.places.served())
            raise BadRequest(f"nodeName: {name!r} is not served by this agent: {served}") from None
        except OSError as error:
            raise BadRequest(f"nodeName: {name!r} cannot be entered: {error}") from None

    def _begin_armed(self, request: ArmWorkerRequest, place: AgentPlace) -> Worker:
        term = Term(request.task_id, request.worker_id, request.start_ns, request.end_ns)
        offset_ns = request.wall_offset_ns
        work = _ended_before(place, term.worker_id, term.start_ns, offset_ns) or self._work_of(
            request.spec, term, place, wall_offset_ns=offset_ns, peers=request.peers, exempt=request.exempt
        )
        worker = Worker(term, request.spec, work, offset_ns, Lease(request.coordinator, request.lease_ns))
        self._begin(worker)
        return worker

    def _known(self, worker_id: int, task_id: str, spec: Spec) -> Worker | None:
        worker = self._workers.get(worker_id)
        if worker is None:
            return None
        if worker.term.task_id != task_id:
            raise Conflict(f"There is already a worker ID {worker_id} with a different task ID.")
        if worker.spec != spec:
            raise Conflict(f"There is already a worker ID {worker_id} with a different task spec.")
        return worker

    def _begin(self, worker: Worker) -> None:
        if self._closing:
            raise Unavailable("this agent is shutting down")
        if len(self._workers) >= MAX_WORKERS:
            self._forget_oldest()
        self._workers[worker.id] = worker
        self._lives.begin(worker)

    def _forget_oldest(self) -> None:
        done = [worker for worker in self._workers.values() if worker.done.is_set()]
        if not done:
            raise Unavailable(f"this agent has {MAX_WORKERS} workers, and none of them is done")
        del self._workers[min(done, key=lambda worker: worker.done_ms).id]

    def _work_of(
        self,
        spec: Spec,
        term: Term,
        place: AgentPlace,
        *,
        wall_offset_ns: int,
        peers: Mapping[str, Peer],
        exempt: tuple[str, ...],
    ) -> Work:
        if isinstance(spec, NoOpTaskSpec):
            return NoOp()
        try:
            if workloads.supports(type(spec)):
                return RunCommand(workloads.command_of(spec, place.node), term.task_id, self._of.spawner)
        except CannotInject as error:
            return Refused(error)
        fault = self._of.platform.faults.get(type(spec))
        if fault is None:
            return Refused(CannotInject(NOT_SUPPORTED))
        if frozen(place):
            return Refused(CannotInject(f"{place.node.name} is frozen: `trogdor thaw` allows faults again"))
        eyes = place.eyes
        ports = {name: peer.probe_port for name, peer in peers.items() if peer.probe_port}
        scene = Scene(
            node=place.node,
            topology=self._of.topology,
            place=place.place,
            exempt=tuple((address, self._of.port) for address in exempt if address),
            probe_ports={**ports, place.node.name: eyes.port},
        )
        addresses = {name: (peer.addresses, peer.probe_port) for name, peer in peers.items()}
        return InjectFault(
            Injection(
                fault, spec, term, scene, wall_offset_ns, place.ledger, self._of.clock, self._of.firing,
                lambda expect, term: eyes.watch(expect, term.start_ns, term.end_ns, addresses),
            )
        )  # fmt: skip

    def hear(self, coordinator: str) -> None:
        """A coordinator was heard: what it armed may fire for a while."""
        if coordinator not in self._heard and len(self._heard) >= MAX_COORDINATORS:
            del self._heard[min(self._heard, key=lambda who: self._heard[who])]
        self._heard[coordinator] = self._of.clock.boot_ns()

    async def stop(self, worker_id: int) -> None:
        """Stops a worker, fired or not; answers when it is done, or after a second. Unknown ids are ignored."""
        worker = self._workers.get(worker_id)
        if worker is None:
            return
        worker.stopping.set()
        try:
            await asyncio.wait_for(worker.done.wait(), STOP_ANSWER_S)
        except TimeoutError:
            log.info("worker %d is still stopping", worker_id)

    async def destroy(self, worker_id: int) -> None:
        """Stops a worker and forgets it once it is done."""
        worker = self._workers.get(worker_id)
        if worker is None:
            return
        worker.forgotten = True
        await self.stop(worker_id)
        self._forget_if_wanted(worker)

    def _forget_if_wanted(self, worker: Worker) -> None:
        if worker.forgotten and worker.done.is_set() and self._workers.get(worker.id) is worker:
            del self._workers[worker.id]

    async def close(self, deadline_s: float) -> list[Worker]:
        """Stops every worker; those that were not done by the deadline."""
        self._closing = True
        for worker in self._workers.values():
            worker.stopping.set()
        ends = [asyncio.create_task(worker.done.wait()) for worker in self._workers.values()]
        if ends:
            await asyncio.wait(ends, timeout=deadline_s)
            for end in ends:
                end.cancel()
        return [worker for worker in self._workers.values() if not worker.done.is_set()]

    async def events(self) -> AsyncGenerator[Event, None]:
        """``hello`` with every worker, then ``worker`` at each change."""
        feed = Feed()
        self._feeds.add(feed)
        try:
            yield Event("hello", {"workers": {str(id_): shown for id_, shown in self.to_json().items()}})
            async for event in feed:
                yield event
        finally:
            self._feeds.discard(feed)

    def _changed(self, worker: Worker) -> None:
        if worker.done.is_set():
            self.figures.over(worker.work.status)
        if self._feeds:
            event = Event("worker", {"workerId": worker.id, "worker": worker.to_json()})
            for feed in self._feeds:
                feed.put(event)
        self._forget_if_wanted(worker)

    def find(self, worker_id: int) -> Worker | None:
        """A worker by id."""
        return self._workers.get(worker_id)


def _ended_before(place: AgentPlace, worker_id: int, asked_ns: int, wall_offset_ns: int) -> Work | None:
    """What to do about a worker that an earlier epoch of this agent fired: nothing is ever fired twice.

    One asked to start only after that end is another of the same id.
    """
    ended = place.ledger.ended.get(worker_id)
    if ended is None or asked_ns >= ended.at_ns:
        return None
    at = datetime.fromtimestamp((ended.at_ns + wall_offset_ns) / 1e9, UTC).isoformat(timespec="milliseconds")
    return Refused(CannotInject(f"agent restarted; fault ended at {at.replace('+00:00', 'Z')}"))


FROZEN = "frozen"


def frozen(place: AgentPlace) -> bool:
    """Whether new faults are refused there."""
    return (place.directory / FROZEN).exists()


def freeze(place: AgentPlace) -> None:
    """Refuses new faults from now on, also after a restart. Raises OSError."""
    _write_durably(place.directory / FROZEN)


def thaw(place: AgentPlace) -> None:
    """Allows faults again."""
    (place.directory / FROZEN).unlink(missing_ok=True)


def _write_durably(path: Path) -> None:
    with path.open("w") as file:
        os.fsync(file.fileno())
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
