"""The daemons of attached places: one agent and a coordinator on loopback, for as long as a block runs."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trogdor.attach.places import (
    COORDINATOR,
    HOST,
    AttachError,
    Found,
    configuration,
    of_containers,
    of_processes,
    of_project,
)
from trogdor.client import Client, ClientError
from trogdor.containers import Engine

READY_TIMEOUT_S = 60.0
END_TIMEOUT_S = 20.0
_POLL_S = 0.05
_SOURCE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Attached:
    """Places that are attached. ``target`` is the coordinator's, as `-t` and $TROGDOR take it."""

    client: Client
    target: str
    nodes: Sequence[str]


@contextmanager
def attach(
    *,
    containers: Iterable[Any] = (),
    project: str | None = None,
    processes: Mapping[str, int] | None = None,
    state: Path | None = None,
) -> Iterator[Attached]:
    """The namespaces of containers and processes are nodes within the block. Needs root.

    containers: names, ids, or objects of docker-py or testcontainers; nodes are named as the containers.
    project: a compose project; nodes are named as its services.
    processes: pids by the names of the nodes.
    state: where journals and logs are kept; a temporary directory, removed once every fault has ended, if absent.
    Raises AttachError, EngineError.
    """
    with serve(find(containers, project, processes or {}), state) as attached:
        yield attached


def find(containers: Iterable[Any], project: str | None, processes: Mapping[str, int]) -> list[Found]:
    """What is to be attached. Raises EngineError."""
    found = of_processes(processes)
    if wanted := list(containers):
        found += of_containers(wanted, Engine.found())
    if project is not None:
        found += of_project(project, Engine.found())
    return found


@contextmanager
def serve(found: Sequence[Found], state: Path | None = None) -> Iterator[Attached]:
    """Runs an agent and a coordinator for these places within the block."""
    if os.geteuid() != 0:
        raise AttachError("entering other processes' namespaces needs root")
    config = configuration(found, _free_port(), _free_port())
    with ExitStack() as stack:
        home = state or Path(tempfile.mkdtemp(prefix="trogdor-attach-"))
        home.mkdir(parents=True, exist_ok=True)
        (home / "trogdor.json").write_text(json.dumps(config, indent=2))
        if state is None:
            stack.callback(_remove_if_healed, home)
        agent = stack.enter_context(_daemon("agent", HOST, home))
        coordinator = stack.enter_context(_daemon("coordinator", COORDINATOR, home))
        target = f"unix:{home / COORDINATOR / 'coordinator.sock'}"
        client = stack.enter_context(Client(target))
        names = [each.name for each in found]
        _await_up(client, names, {"agent": agent, "coordinator": coordinator}, home)
        yield Attached(client, target, names)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def _daemon(role: str, node: str, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    path = os.pathsep.join(filter(None, [str(_SOURCE), os.environ.get("PYTHONPATH", "")]))
    command = [
        sys.executable,
        "-m",
        "trogdor",
        role,
        "-c",
        str(home / "trogdor.json"),
        "-n",
        node,
        "--state",
        str(home),
    ]
    with open(home / f"{role}.log", "ab") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is ours to pass on
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()  # its warden undoes what it held
            process.wait()


def _await_up(client: Client, names: Sequence[str], daemons: Mapping[str, subprocess.Popen[bytes]], home: Path) -> None:
    until = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            known = client.nodes()
            if all(known[name]["up"] for name in names):
                return
            problem = f"not up: {', '.join(name for name in names if not known[name]['up'])}"
        except ClientError as error:
            problem = str(error)
        ended = [role for role, process in daemons.items() if process.poll() is not None]
        if ended or time.monotonic() > until:
            logs = "\n".join((home / f"{role}.log").read_text()[-2000:] for role in ended or daemons)
            raise AttachError(f"{problem}\n{logs}")
        time.sleep(_POLL_S)


def _remove_if_healed(home: Path) -> None:
    """An agent that had to be killed may have left a journal: that is what `trogdor heal --local` needs."""
    healed = subprocess.run(
        [sys.executable, "-m", "trogdor", "heal", "--local", "--state", str(home)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_SOURCE), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        check=False,
    )
    if healed.returncode == 0:
        shutil.rmtree(home)
    else:
        print(f"something may be left: trogdor heal --local --state {home}", file=sys.stderr)
