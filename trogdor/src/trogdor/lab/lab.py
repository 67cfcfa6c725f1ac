"""A cluster of nodes on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from trogdor.lab import daemons, runtime
from trogdor.lab.control import is_readable
from trogdor.lab.node import Node, NodeProcess
from trogdor.lab.plan import COORDINATOR, OWN_DIRECTORIES, Plan, plan_nodes
from trogdor.lab.reasons import explain
from trogdor.lab.runtime import LabError, UnknownLab

if TYPE_CHECKING:
    from trogdor.client import AgentClient, Client

_SET_UP_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 30.0
_KEEPER = "from trogdor.lab.keeper import main; main()"
_SOURCE = Path(__file__).resolve().parents[2]


class Lab:
    """Nodes `n1` … `nN`, and one more for a coordinator, as `with Lab(nodes=3) as lab:`.

    nodes: how many (at most 250), or their names.
    name: by which the command line finds the lab; a random one if absent.
    state: a directory for the nodes' files, which is kept; a temporary one if absent.
    directories: further directories of each node's own, beside /mnt, /tmp, /var/lib/trogdor, /var/log.
    share: files and directories below those that the nodes shall see as the host does; the working
        directory, Python's own, and those of PATH are among them already.
    owned: the lab ends with this process. Otherwise it lives until `close`, from whatever process.

    Raises LabError that says why there can be no lab here and what to do; ValueError for bad names.
    """

    def __init__(
        self,
        nodes: int | list[str] = 3,
        name: str | None = None,
        *,
        state: str | Path | None = None,
        directories: Sequence[str] = (),
        share: Sequence[str | Path] = (),
        owned: bool = True,
    ) -> None:
        found = plan_nodes(nodes, ipv6=os.path.exists("/proc/net/if_inet6"))
        own = [*OWN_DIRECTORIES, *directories]
        runtime_directory, lock = runtime.reserve(name)
        try:
            home = _state_directory(state, runtime_directory.name)
            plan = Plan(
                name=runtime_directory.name,
                nodes=found,
                state=str(home),
                runtime=str(runtime_directory),
                keep_state=state is not None,
                directories=own,
                share=_shared(own, home, share),
            )
            self._attach(plan)
            self._start(lock, owned)
        except BaseException:
            runtime.sweep(runtime_directory)
            raise
        finally:
            os.close(lock)

    @classmethod
    def attach(cls, name: str | None = None) -> Lab:
        """A lab that is up, by name, or the only one. Raises LabError if there is none, or several."""
        running = runtime.running()
        if name is None and len(running) == 1:
            name = next(iter(running))
        if name is None or name not in running:
            up = ", ".join(running) or "none"
            wanted = f"no lab {name!r} is up" if name else "which lab?" if running else "no lab is up"
            raise UnknownLab(f"{wanted} (up: {up}); `trogdor lab up 3` starts one")
        lab = cls.__new__(cls)
        lab._attach(running[name])
        return lab

    def _attach(self, plan: Plan) -> None:
        everyone = {node.name: Node(plan, node) for node in plan.nodes}
        self.name, self.state, self.runtime = plan.name, Path(plan.state), Path(plan.runtime)
        self.coordinator: Node = everyone[COORDINATOR]
        self.nodes: dict[str, Node] = {name: node for name, node in everyone.items() if name != COORDINATOR}
        self._plan = plan
        self._guard: subprocess.Popen[bytes] | None = None

    def node(self, name: str) -> Node:
        """A node, or the coordinator's, by name. Raises LabError with the names there are."""
        everyone = {**self.nodes, COORDINATOR: self.coordinator}
        if name not in everyone:
            raise UnknownLab(f"no node {name!r} in lab {self.name}; there are {', '.join(everyone)}")
        return everyone[name]

    def topology(self) -> dict[str, Any]:
        """The lab as upstream's configuration file has it: an agent on each node, the coordinator on its own."""
        return daemons.topology(self)

    def start_daemons(self) -> dict[str, NodeProcess]:
        """Start an agent on each node and the coordinator on its own; returns the processes once all are in touch.

        Their logs are `agent` and `coordinator`. Raises LabError, with the end of the log, when one ends
        or does not answer within a minute.
        """
        return daemons.start(self, [*self.nodes, COORDINATOR])

    def start_daemon(self, name: str) -> NodeProcess:
        """Start the agent of a node, or the coordinator, as `start_daemons` does: also again, after its end."""
        return daemons.start(self, [name])[name]

    def describe(self) -> dict[str, Any]:
        """The lab for programs: its name, where its coordinator is reached, and each node."""
        return {
            "name": self.name,
            "target": self.target,
            "state": str(self.state),
            "nodes": {
                node.name: {
                    "address": node.address,
                    "address6": node.address6,
                    "pid": node.pid,
                    "directory": str(node.directory),
                }
                for node in [*self.nodes.values(), self.coordinator]
            },
        }

    @property
    def target(self) -> str:
        """Where the coordinator is reached from outside: `unix:PATH`."""
        return f"unix:{self.runtime / daemons.COORDINATOR_SOCKET}"

    def client(self) -> Client:
        """A client of the lab's coordinator."""
        from trogdor.client import Client

        return Client(self.target)

    def agent_client(self, node: str) -> AgentClient:
        """A client of the agent on a node, which a fault on the node's network does not reach."""
        from trogdor.client import AgentClient

        return AgentClient(f"unix:{self.nodes[node].path(f'/var/lib/trogdor/{node}/agent.sock')}")

    def _start(self, lock: int, owned: bool) -> None:
        plan_file = self.runtime / runtime.PLAN_FILE
        plan_file.write_text(self._plan.to_json())
        report, told = os.pipe()
        owner = os.pidfd_open(os.getpid()) if owned else -1
        try:
            with open(self.runtime / "keeper.log", "wb") as log:
                self._guard = subprocess.Popen(
                    [sys.executable, "-S", "-c", _KEEPER, *map(str, (plan_file, lock, told, owner))],
                    env={"PYTHONPATH": str(_SOURCE), "PATH": os.environ.get("PATH", os.defpath)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[lock, told, *([owner] if owned else [])],
                    start_new_session=True,
                    cwd="/",
                )
            os.close(told)
            told = -1
            self._await_report(report)
        except BaseException:
            self.close()
            raise
        finally:
            for descriptor in (report, told, owner):
                if descriptor >= 0:
                    os.close(descriptor)

    def _await_report(self, report: int) -> None:
        """Return when the keeper says that every node is up. Raises LabError with the reason when they cannot be."""
        if not is_readable(report, _SET_UP_TIMEOUT_S):
            raise LabError(f"the nodes were not up after {_SET_UP_TIMEOUT_S:.0f} s")
        text = os.read(report, 65536)
        if not text:
            log = self.runtime / "keeper.log"
            raise LabError(f"the lab's keeper died: {log.read_text() if log.exists() else 'without a word'}")
        problem = json.loads(text)
        if problem:
            raise LabError(explain(*problem))

    def close(self) -> None:
        """End every process of the lab and remove its files; harmless when that has happened."""
        pid = self._guard.pid if self._guard else runtime.keeper_pid(self.runtime)
        if pid is not None and (self._guard is None or self._guard.returncode is None):
            guard = os.pidfd_open(pid)
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(guard, signal.SIGTERM)
            ended = is_readable(guard, _END_TIMEOUT_S)
            os.close(guard)
            if not ended:
                raise LabError(f"the keeper of lab {self.name} has not ended after {_END_TIMEOUT_S:.0f} s")
        if self._guard is not None and self._guard.wait() != 0:
            runtime.sweep(self.runtime)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()


def _state_directory(wanted: str | Path | None, lab: str) -> Path:
    if wanted is None:
        return Path(tempfile.mkdtemp(prefix=f"trogdor-{lab}-"))
    Path(wanted).mkdir(parents=True, exist_ok=True)
    return Path(wanted).resolve()


def _shared(own: Sequence[str], state: Path, asked: Sequence[str | Path]) -> list[str]:
    """What a node would lose from sight below its own directories, and shall not; outermost first."""
    usual = [os.getcwd(), sys.prefix, sys.base_prefix, str(_SOURCE), *os.environ.get("PATH", "").split(":")]
    found: list[str] = []
    for path in sorted({os.path.realpath(path) for path in (*usual, *map(str, asked))}):
        hidden = any(path.startswith(f"{directory}/") for directory in (*own, "/run", "/dev/shm"))
        covered = any(path == other or path.startswith(f"{other}/") for other in found)
        if hidden and not covered and os.path.exists(path) and not state.is_relative_to(path):
            found.append(path)
    return found
