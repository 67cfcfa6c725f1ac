"""Which machine is which node, and what runs there; deployed to all at once, and undeployed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from trogdor.deploy import service
from trogdor.deploy.account import SshAccount
from trogdor.deploy.install import PREFIX, Installation, home_of, install, installed
from trogdor.deploy.wheels import Wheels
from trogdor.topology import (
    AGENT_PORT,
    BASIC_PLATFORM,
    COORDINATOR_PORT,
    DEFAULT_AGENT_PORT,
    DEFAULT_COORDINATOR_PORT,
    Node,
    Topology,
)

AT_ONCE = 16


class FleetError(ValueError):
    """Hosts that cannot be told apart, or that the configuration does not know; every problem."""


@dataclass(frozen=True)
class Machine:
    """A machine, and the node of the configuration that it is."""

    node: str
    account: SshAccount


@dataclass(frozen=True)
class Outcome:
    """What became of one machine: lines that say what was done, or why not."""

    node: str
    lines: Sequence[str]
    error: Exception | None = None


def read_hosts(hosts: str, options: Sequence[str] = (), sudo: bool = False) -> list[Machine]:
    """``[NODE=][USER@]HOST,…``: without NODE= the host is the node's name. Raises FleetError."""
    machines = []
    for host in filter(None, (part.strip() for part in hosts.split(","))):
        name, _, destination = host.rpartition("=")
        machines.append(Machine(name or destination.rpartition("@")[2], SshAccount(destination, options, sudo)))
    names = [machine.node for machine in machines]
    problems = [f"{name} is named twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    problems += [
        f"{each.node or hosts!r}: no host is named" for each in machines if not _is_host(each.account.destination)
    ]
    if problems or not machines:
        raise FleetError("\n".join(problems or ["no host is named: --ssh HOST,HOST"]))
    return machines


def _is_host(destination: str) -> bool:
    user, at, host = destination.rpartition("@")
    return bool(host) and bool(user) == bool(at) and not destination.startswith("-") and " " not in destination


def made_config(machines: Sequence[Machine], coordinator: str | None) -> dict[str, Any]:
    """A configuration for machines that have none: an agent on each, or the coordinator. Raises FleetError."""
    if coordinator is not None and coordinator not in [machine.node for machine in machines]:
        raise FleetError(f"--coordinator {coordinator}: none of {', '.join(machine.node for machine in machines)}")
    ports = {AGENT_PORT: DEFAULT_AGENT_PORT, COORDINATOR_PORT: DEFAULT_COORDINATOR_PORT}
    nodes = {}
    for machine in machines:
        port = COORDINATOR_PORT if machine.node == coordinator else AGENT_PORT
        nodes[machine.node] = {"hostname": machine.account.hostname(), port: ports[port]}
    return {"platform": BASIC_PLATFORM, "nodes": nodes}


def daemons_of(node: Node) -> Iterator[tuple[str, int]]:
    """The daemons that the configuration gives a node, and their ports."""
    if node.coordinator_port is not None:
        yield "coordinator", node.coordinator_port
    if node.agent_port is not None:
        yield "agent", node.agent_port


def check(machines: Sequence[Machine], topology: Topology) -> None:
    """Raises FleetError with every machine that is no node of the configuration, or a node without a daemon."""
    problems = []
    for name in (machine.node for machine in machines):
        if name not in topology.nodes:
            problems.append(f"{name}: no such node in the configuration; say NODE=HOST")
        elif not [*daemons_of(topology.nodes[name])]:
            problems.append(f"{name}: the configuration has no port of a daemon for it")
    if problems:
        raise FleetError("\n".join(problems))


def deploy(
    machines: Sequence[Machine],
    topology: Topology,
    config: dict[str, Any],
    wheels: Wheels,
    *,
    prefix: str = PREFIX,
    python: str = "python3",
) -> Iterator[Outcome]:
    """Install on each machine, replace other versions there, start its daemons; outcomes as they come."""

    def one(machine: Machine) -> list[str]:
        before = installed(machine.account, prefix)
        for same in before:
            if same.home == home_of(wheels, prefix) and not same.is_from(wheels):
                _take_away(same)
        made = install(machine.account, wheels, prefix, python)
        for other in before:
            if other != made:
                _take_away(other)
        return [
            f"{role} {wheels.version} answers on port {port} ({service.start(made, config, machine.node, role, port)})"
            for role, port in daemons_of(topology.nodes[machine.node])
        ]

    return _on_all(machines, one)


def undeploy(machines: Sequence[Machine], prefix: str = PREFIX) -> Iterator[Outcome]:
    """End the daemons on each machine and remove what was installed."""

    def one(machine: Machine) -> list[str]:
        found = installed(machine.account, prefix)
        for each in found:
            _take_away(each)
        return [f"removed {each.home}" for each in found] or [f"nothing of ours is in {prefix}"]

    return _on_all(machines, one)


def _take_away(installation: Installation) -> None:
    service.stop_all(installation)
    installation.remove()


def _on_all(machines: Sequence[Machine], act: Callable[[Machine], list[str]]) -> Iterator[Outcome]:
    def guarded(machine: Machine) -> Outcome:
        try:
            return Outcome(machine.node, act(machine))
        except Exception as error:
            return Outcome(machine.node, [], error)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(guarded, machines)
