"""The coordinator's process: configuration, listening, signals, the end."""

import asyncio
import faulthandler
import gc
import json
import logging
import resource
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trogdor.client.errors import ClientError
from trogdor.coordinator.events import Events
from trogdor.coordinator.identity import Identity
from trogdor.coordinator.leases import Leases
from trogdor.coordinator.metrics import Metrics
from trogdor.coordinator.page import Page
from trogdor.coordinator.resume import resume
from trogdor.coordinator.routes import Routes
from trogdor.coordinator.state import Phase, State, Task
from trogdor.coordinator.store import Store, StoreError
from trogdor.coordinator.tasks import Tasks
from trogdor.http.app import Application
from trogdor.http.openapi import with_docs
from trogdor.http.server import Server, addresses_of, bind, reach_beyond
from trogdor.instant import Clock
from trogdor.spec import Spec
from trogdor.topology import DEFAULT_COORDINATOR_PORT, Node, Topology, default_state

if TYPE_CHECKING:
    from trogdor.coordinator.webhooks import Sender, Webhook

log = logging.getLogger(__name__)

SOCKET = "coordinator.sock"
STORE = "trogdor.coordinator.store"
SYNC = "store.sync"
WEBHOOKS = "trogdor.webhooks"
"""Setting of the coordinator's node: a list of those who are told of events."""
END_FAULTS_S = 3.5
"""Of the five seconds in which a coordinator ends, how long its agents have to acknowledge."""
WITHDRAW_S = 1.0
MAX_FILES = 65_536
COLLECTED_EVERY = 10_000
"""So many objects are made between two looks for cycles: most are a task's, and stay."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class ConfigurationError(Exception):
    """A coordinator that cannot be started as configured; says what and where."""


@dataclass(frozen=True)
class Settings:
    """What a coordinator is started with."""

    topology: Topology
    node: Node
    state: Path
    """The directory of its store, lock and Unix socket."""
    webhooks: "tuple[Webhook, ...]" = ()


def settings_of(topology: Topology, node_name: str, state: Path | None = None) -> Settings:
    """``state`` holds a directory for each node. Raises ConfigurationError for no such node, or wrong settings."""
    node = topology.nodes.get(node_name)
    if node is None:
        raise ConfigurationError(
            f"no node {node_name!r} in the configuration, only {', '.join(sorted(topology.nodes))}"
        )
    return Settings(topology, node, (state or default_state()) / node_name, _webhooks(node))


def _webhooks(node: Node) -> "tuple[Webhook, ...]":
    """Who is to be told of events. Nothing is imported for nobody."""
    if WEBHOOKS not in node.settings:
        return ()
    from trogdor.coordinator.webhooks import read_webhooks

    try:
        return tuple(read_webhooks(node.settings[WEBHOOKS]))
    except ValueError as error:
        raise ConfigurationError(f"nodes.{node.name}.{WEBHOOKS}{error}") from None


def _senders(webhooks: "tuple[Webhook, ...]") -> "list[Sender]":
    if not webhooks:
        return []
    from trogdor.coordinator.webhooks import Sender

    return [Sender(webhook) for webhook in webhooks]


class Coordinator:
    """Everything one coordinator is made of. ``start``, then ``ended``, then ``stop``."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or Clock()
        settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        node = settings.node
        url = node.settings.get(STORE) or f"sqlite:///{settings.state / 'coordinator.db'}"
        self.store = Store(url, node.settings.get(SYNC, "normal"), settings.state / "coordinator.lock")
        self.ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        """Done once it is to end; whether the agents are to end too. Raises StoreError when another leads the store."""
        self._keepers: list[asyncio.Task[None]] = []
        self._senders: list[Sender] = []
        self._server: Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Answers once this returns. Raises ListenError or StoreError."""
        hostname = self._settings.node.hostname
        port = self._settings.node.coordinator_port
        listening = addresses_of(hostname)
        sockets = bind(listening, DEFAULT_COORDINATOR_PORT if port is None else port)
        self.port = sockets[0].getsockname()[1]
        self.store.on_lead_lost = self._lead_lost
        await self.store.open()
        identity = Identity(self.store)
        await identity.load()
        events = Events(self.store, self._clock)
        await events.load()
        events.senders = self._senders = _senders(self._settings.webhooks)
        topology, node = self._settings.topology, self._settings.node
        self.tasks = Tasks(topology, self.store, events, self._clock, identity, node=node)
        await resume(self.tasks)
        self.leases = leases = Leases(self.tasks)
        leases.resume()
        events.emit("coordinator-start", version=_version())
        routes = Routes(self.tasks, leases, self._clock.wall_ms(), self.ended)
        beside = [*Page(self.tasks).endpoints(), *Metrics(self.tasks).endpoints()]
        endpoints = with_docs("Trogdor coordinator", [*routes.endpoints(), *beside])
        self._server = Server(Application(endpoints, {hostname, self._settings.node.name, socket.gethostname()}))
        await self._server.listen(sockets, self._settings.state / SOCKET)
        gc.collect()
        gc.freeze()  # all that is there now is there to stay: no collection of garbage looks at it again
        gc.set_threshold(COLLECTED_EVERY)
        self._keepers = [asyncio.create_task(agent.run()) for agent in self.tasks.agents.values()]
        log.info("Starting coordinator process.")
        self._say_who_can_inject(listening)

    def _lead_lost(self, error: StoreError) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)

    def _say_who_can_inject(self, listening: list[str]) -> None:
        beyond = reach_beyond(listening)
        log.info("listening on port %d and %s", self.port, self._settings.state / SOCKET)
        if beyond:
            log.warning(
                "anyone who reaches port %d of %s can inject faults into %d nodes and run the commands allowed there",
                self.port, ", ".join(beyond), len(self.tasks.agents),
            )  # fmt: skip

    async def stop(self, stop_agents: bool = False) -> None:
        """Ends every fault, disarms what waits (it stays PENDING in the store), and closes everything; within 5 s."""
        if self._server is not None:
            await self._end_faults()
            if stop_agents:
                await self._stop_agents()
        await self.close()

    async def close(self) -> None:
        """Closes everything and leaves the agents as they are."""
        left = set(self._keepers)
        while left:  # a cancellation that comes with a request's timeout may be taken for it
            for keeper in left:
                keeper.cancel()
            _, left = await asyncio.wait(left, timeout=0.5)
        if self._server is not None:
            self.leases.close()
            await self._server.close(grace_s=0.3)
            self.tasks.close()
        await asyncio.gather(*(sender.close() for sender in self._senders))
        await self.store.close()

    async def _end_faults(self) -> None:
        unfinished = [task for task in self.tasks.by_id.values() if not task.is_final]
        running = [task for task in unfinished if task.state is not State.PENDING]
        ended = await self.tasks.end(running, END_FAULTS_S)
        for task_id, nodes in ended["remaining"].items():
            log.error("task %s: %s did not acknowledge its end; `trogdor heal` there", task_id, ", ".join(nodes))
        self.tasks.close()  # what is withdrawn is not to be told again
        with suppress(TimeoutError):
            await asyncio.wait_for(self._withdraw([task for task in unfinished if not task.is_final]), WITHDRAW_S)

    async def _withdraw(self, tasks: list[Task]) -> None:
        active = [worker for task in tasks for worker in task.all_active()]
        told = [worker for worker in active if worker.phase in (Phase.SHIPPED, Phase.ARMED)]
        agents = self.tasks.agents
        await asyncio.gather(*(agents[worker.node].withdraw(worker) for worker in told if agents[worker.node].up))

    async def _stop_agents(self) -> None:
        agents = [agent for agent in self.tasks.agents.values() if agent.up]
        await asyncio.gather(*(_shutdown(agent) for agent in agents))


async def _shutdown(agent: Any) -> None:
    from trogdor.client.calls import Call

    with suppress(ClientError):
        await agent.connection.send(Call("PUT", "/agent/shutdown"), 1.0)


def _version() -> str:
    from trogdor import __version__

    return __version__


async def main(settings: Settings, run: Spec | None = None) -> int:
    """A coordinator until it is told to end, or with ``run`` until that task is done; returns the exit code."""
    faulthandler.enable()
    _allow_connections()
    coordinator = Coordinator(settings)
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, _on_signal, number, coordinator)
    try:
        await coordinator.start()
        if run is not None:
            return await _run_one(coordinator, run)
        await coordinator.ended
        return 0
    finally:
        await _end(coordinator)
        log.info("Stopped coordinator process.")


def _allow_connections() -> None:
    """Each agent takes two connections or more: as many files as this process may have open."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(allowed, min(most, MAX_FILES)), most))


async def _end(coordinator: Coordinator) -> None:
    ended = coordinator.ended
    if ended.done() and not ended.cancelled() and ended.exception():
        await coordinator.close()  # the tasks are another's now
    else:
        await coordinator.stop(ended.result() if ended.done() and not ended.cancelled() else False)


def _on_signal(number: signal.Signals, coordinator: Coordinator) -> None:
    log.warning("Running shutdown hooks: %s", number.name)
    if not coordinator.ended.done():
        coordinator.ended.set_result(False)


async def _run_one(coordinator: Coordinator, spec: Spec) -> int:
    """Runs one task in the foreground and prints its end."""
    task_id = f"exec-{coordinator.tasks.clock.wall_ms()}"
    await coordinator.tasks.create(task_id, spec)
    task = coordinator.tasks.by_id[task_id]
    done = asyncio.ensure_future(coordinator.tasks.until_final([task], 10**9))
    either: list[asyncio.Future[Any]] = [done, coordinator.ended]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    done.cancel()
    print(json.dumps(json.loads(task.shown()), indent=2))
    return 0 if task.is_final and not task.error else 1
