"""The places one agent serves: each a node with a ledger of its own, in its own namespaces."""

import asyncio
import logging
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from trogdor.claim.journal import JournalLocked, JournalUnreadable
from trogdor.claim.ledger import Ledger, Watcher
from trogdor.claim.place import Place
from trogdor.instant import Clock
from trogdor.probe.eyes import Eyes
from trogdor.topology import Node

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AgentPlace:
    """A node that this agent serves."""

    node: Node
    place: Place
    ledger: Ledger
    eyes: Eyes
    directory: Path


class Places:
    """The agent's own node, open from the start, and others, opened when a worker first asks for one."""

    def __init__(self, open_place: Callable[[Node], AgentPlace], own: AgentPlace, nodes: Mapping[str, Node]) -> None:
        self._open_place = open_place
        self._nodes = nodes
        self._opening: dict[str, asyncio.Future[AgentPlace]] = {}
        self.own = own
        self.open: dict[str, AgentPlace] = {own.node.name: own}

    def served(self) -> list[str]:
        """The names of the nodes this agent can serve: its own, and those whose place is inside its machine."""
        inside = [node.name for node in self._nodes.values() if not node.place.is_here and self._is_ours(node)]
        return [self.own.node.name, *sorted(set(inside) - {self.own.node.name})]

    def _is_ours(self, node: Node) -> bool:
        return node.agent in ("", self.own.node.name)

    def allowed_programs(self) -> dict[str, list[str]]:
        """Node → the programs that specs may have run there."""
        nodes = {**self._nodes, self.own.node.name: self.own.node}
        return {name: nodes[name].allowed_programs for name in self.served()}

    async def open_all(self) -> None:
        """Opens every place that can be entered now, so that its probe answers; the others when they are asked for."""
        for name in self.served():
            try:
                await self.find(name)
            except OSError as error:
                log.warning("node %s cannot be served now: %s", name, error)

    async def find(self, name: str) -> AgentPlace:
        """The place of a node; empty: the agent's own. Raises KeyError, or OSError when it cannot be entered.

        One whose process has ended is left, and its successor entered, once no fault is claimed of it any more.
        """
        known = self.open.get(name or self.own.node.name)
        if known is not None and not known.place.is_gone:
            return known
        if name not in self.served():
            raise KeyError(name)
        if name not in self._opening:
            self._opening[name] = entering = asyncio.create_task(self._enter(name))
            entering.add_done_callback(lambda _: self._opening.pop(name))
        return await asyncio.shield(self._opening[name])

    async def _enter(self, name: str) -> AgentPlace:
        if (left := self.open.get(name)) is not None:
            if left.ledger.claimed():
                raise OSError(
                    f"process {left.place.root_pid}, whose namespaces it was, has ended; its faults end first"
                )
            del self.open[name]
            with ExitStack() as closing:
                closing.callback(left.place.close)
                closing.callback(left.eyes.close)
                await asyncio.to_thread(left.ledger.close)
        try:
            entered = await asyncio.to_thread(self._open_place, self._nodes[name])
        except (JournalLocked, JournalUnreadable) as error:
            raise OSError(str(error)) from error
        entered.eyes.start()
        self.open[name] = entered
        return entered


def open_place(
    node: Node, state_dir: Path, kinds: Mapping[str, str], clock: Clock, watcher: Watcher | None
) -> AgentPlace:
    """Opens a node's ledger in its namespaces; undoes what an earlier agent left there.

    Raises OSError, JournalLocked, JournalUnreadable.
    """
    with ExitStack() as on_failure:
        place = Place.here() if node.place.is_here else Place.of_process(_pid_of(node))
        on_failure.callback(place.close)
        ledger = Ledger.open(state_dir, node.name, kinds, clock=clock.boot_ns, place=place, watcher=watcher)
        on_failure.callback(ledger.close)
        eyes = Eyes(node.name, clock, place.entered)
        on_failure.pop_all()
    return AgentPlace(node, place, ledger, eyes, state_dir / node.name)


def _pid_of(node: Node) -> int:
    if node.place.pid is not None:
        return node.place.pid
    import shutil

    from trogdor.containers import Engine, EngineError

    name, problems = str(node.place.container), []
    try:
        return Engine.found().container(name).pid
    except EngineError as error:
        problems.append(str(error))
    for program in ("podman", "nerdctl"):
        if (found := shutil.which(program)) is None:
            continue
        asked = [found, "inspect", "--format", "{{.State.Pid}}", name]
        try:
            answer = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
        except subprocess.TimeoutExpired:
            problems.append(f"{program}: no answer in 10 s")
            continue
        if answer.returncode == 0 and answer.stdout.strip().isdecimal() and int(answer.stdout) > 0:
            return int(answer.stdout)
        problems.append(f"{program}: {answer.stderr.strip() or 'it does not run'}")
    raise OSError(
        f"node {node.name}: no running container {name!r} was found ({'; '.join(problems)}); "
        f'a pid is understood too: "place": {{"pid": …}}'
    )
