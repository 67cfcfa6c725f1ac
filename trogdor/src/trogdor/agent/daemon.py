"""The agent as a process: what it opens, in which order, and how it ends."""

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trogdor.agent.command import Spawner
from trogdor.agent.place import AgentPlace, Places, open_place
from trogdor.agent.routes import Routes
from trogdor.agent.workers import Setting, Workers
from trogdor.claim.ledger import Ledger
from trogdor.claim.model import why
from trogdor.http.app import Application
from trogdor.http.server import Server, addresses_of, bind, reach_beyond
from trogdor.instant import MOST_URGENT, Clock, FiringThread, raise_session, set_niceness
from trogdor.platform.base import Platform
from trogdor.spec import REGISTRY
from trogdor.topology import DEFAULT_AGENT_PORT, Node, Topology
from trogdor.warden import PATIENCE_S, Warden
from trogdor.wire.messages import ArmWorkerRequest
from trogdor.wire.status import FaultStatus

log = logging.getLogger(__name__)

HEARTBEAT_S = 0.5
OVERDUE_S = 5.0
"""How often it is tried again to undo what could not be undone."""
REARM_S = 3600.0
WORKERS_END_S = 3.0
REQUESTS_END_S = 1.0
SOCKET = "agent.sock"


class FaultsRemain(Exception):
    """The agent has ended and could not undo everything; says what, and how to heal by hand."""


@dataclass(frozen=True)
class Options:
    """What an agent is started with."""

    topology: Topology
    node: Node
    state_dir: Path
    """Below it each node that the agent serves has a directory of its own."""
    socket: Path | None = None
    """Where its Unix socket is; ``agent.sock`` in the node's directory unless told."""


class Agent:
    """An agent that is being run: ``open`` before the event loop, then ``serve`` on it."""

    def __init__(self, options: Options, platform: Platform, warden: Warden, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self._options = options
        self._platform = platform
        self._warden = warden
        self._niceness = os.getpriority(os.PRIO_PROCESS, 0)
        self._ended = asyncio.Event()
        self.answering = asyncio.Event()
        """Set once it answers."""
        self._notes: dict[str, str] = dict(platform.missing())
        self._own = self._open(options.node)
        self.workers: Workers

    def _open(self, node: Node) -> AgentPlace:
        return open_place(node, self._options.state_dir, self._platform.kinds, self.clock, self._warden)

    def shut_down(self) -> None:
        """Asks it to end every fault, and then itself."""
        self._ended.set()

    async def serve(self) -> None:
        """Answers until it is asked to end. Raises ListenError, and FaultsRemain when not all could be undone."""
        server, firing = await self._start()
        beating = asyncio.create_task(self._beat())
        tending = [
            asyncio.create_task(self._tend(Ledger.undo_overdue, OVERDUE_S)),
            asyncio.create_task(self._tend(Ledger.rearm, REARM_S)),
        ]
        try:
            await self._ended.wait()
        finally:
            await self._end(server, beating, tending, firing)

    async def _start(self) -> tuple[Server, FiringThread]:
        node = self._options.node
        firing = FiringThread(self.clock, urgent=True)
        if refused := firing.refused or set_niceness(MOST_URGENT):
            self._notes["priority"] = refused
        raise_session()
        addresses = addresses_of(node.hostname)
        sockets = bind(addresses, DEFAULT_AGENT_PORT if node.agent_port is None else node.agent_port)
        port: int = sockets[0].getsockname()[1]
        self.places = Places(self._open, self._own, self._options.topology.nodes)
        self._own.eyes.start()
        self._spawner = Spawner(self._niceness)
        setting = Setting(self.clock, firing, self._options.topology, self._platform, self.places, self._spawner, port)
        self.workers = Workers(setting)
        routes = Routes(setting, self.workers, self.shut_down, self._notes)
        server = Server(Application(routes.table(), [node.hostname, node.name, socket.gethostname()]))
        await server.listen(sockets, self._options.socket or self._own.directory / SOCKET)
        _say_who_can_inject(addresses, port)
        self.answering.set()
        print("Starting agent process.", flush=True)
        self._loading = asyncio.create_task(asyncio.to_thread(self._load_the_rest))
        return server, firing

    def _load_the_rest(self) -> None:
        """Makes what faults need, after the first answer; then no collection of garbage looks at it again."""
        import trogdor.probe.watches  # noqa: F401

        for model in (FaultStatus, ArmWorkerRequest):
            model.model_rebuild()
        specs, faults = len([*REGISTRY]), len(self._platform.faults)
        gc.collect()
        gc.freeze()
        log.info("%d specs, of which %d are faults here", specs, faults)

    async def _beat(self) -> None:
        """Tells the warden that this event loop lives."""
        while True:
            self._warden.heartbeat()
            await asyncio.sleep(HEARTBEAT_S)

    async def _tend(self, tend: Callable[[Ledger], None], every_s: float) -> None:
        """Sees to every ledger, again and again; one that fails or hangs keeps no heartbeat waiting."""
        while True:
            await asyncio.sleep(every_s)
            for place in list(self.places.open.values()):
                try:
                    await asyncio.to_thread(tend, place.ledger)
                except Exception:
                    log.exception("%s: %s failed", place.node.name, tend.__name__)

    async def _end(
        self, server: Server, beating: "asyncio.Task[None]", tending: "list[asyncio.Task[None]]", firing: FiringThread
    ) -> None:
        log.info("ending every fault")
        for task in tending:
            task.cancel()
        late = await self.workers.close(WORKERS_END_S)
        for worker in late:
            log.warning(
                "worker %d of task %s has not ended in time; its claims are released", worker.id, worker.term.task_id
            )
        remain = [text for place in self.places.open.values() for text in await self._give_up(place)]
        if not remain:
            self._warden.close()
        beating.cancel()
        firing.close()
        await server.close(REQUESTS_END_S)
        for place in self.places.open.values():
            place.eyes.close()
        self._spawner.close()
        if remain:
            raise FaultsRemain(
                f"the agent ends, and could not undo: {'; '.join(remain)}. Its warden tries for {PATIENCE_S} s more; "
                f"`trogdor heal --local --state {self._options.state_dir}` shows what is left then"
            )
        log.info("the agent ends; no fault is left")

    async def _give_up(self, place: AgentPlace) -> list[str]:
        """Closes a place's ledger; answers what could not be undone."""
        try:
            failed = await asyncio.to_thread(place.ledger.close)
        except Exception as error:
            log.exception("%s: its ledger could not be closed", place.node.name)
            failed = [why(error)]
        return [f"{place.node.name}: {text}" for text in failed]


def _say_who_can_inject(addresses: list[str], port: int) -> None:
    if beyond := reach_beyond(addresses):
        where = ", ".join(f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address in beyond)
        log.warning(
            "anyone who reaches %s can cut this node off, stop its processes and run its allowed commands; "
            "keep the port to trusted machines, or give the node the hostname localhost and use the Unix socket",
            where,
        )


def run(options: Options) -> int:
    """Runs an agent until it is told to end; its exit code. Raises what ``Agent`` and ``Agent.serve`` raise."""
    from trogdor.http.server import run as run_loop

    agent = open_agent(options)
    run_loop(serve_until_signalled(agent))
    return 0


def open_agent(options: Options) -> Agent:
    """An agent of this machine's platform; what an earlier one left has been undone when this returns.

    The warden, a process of its own, is started before there is an event loop or a thread.
    """
    from trogdor.platform import here

    faulthandler.enable()
    warden = Warden()
    try:
        return Agent(options, here(), warden)
    except BaseException:
        warden.close()
        raise


async def serve_until_signalled(agent: Agent) -> None:
    loop = asyncio.get_running_loop()

    def signalled(number: signal.Signals) -> None:
        log.warning("%s: the agent ends every fault, then itself", number.name)
        agent.shut_down()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, signalled, number)
    await agent.serve()
