"""Which processes' namespaces become which nodes, and the configuration that says so."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from itertools import pairwise
from pathlib import Path
from typing import Any

from trogdor.containers import Container, Engine

HOST, COORDINATOR = "host", "coordinator"


class AttachError(Exception):
    """What cannot be attached, and why; every problem."""


@dataclass(frozen=True)
class Found:
    """A process whose namespaces are to be a node: what its place in the configuration says, and its pid now."""

    name: str
    place: Mapping[str, Any]
    pid: int


def of_processes(processes: Mapping[str, int]) -> list[Found]:
    """Nodes by name out of pids."""
    return [Found(name, {"pid": pid}, pid) for name, pid in processes.items()]


def of_containers(containers: Iterable[Any], engine: Engine) -> list[Found]:
    """Nodes, named as the containers are: by name, or objects of docker-py or testcontainers. Raises EngineError."""
    found = (engine.container(_identity(each)) for each in containers)
    return [Found(each.name, {"container": each.name}, each.pid) for each in found]


def of_project(project: str, engine: Engine) -> list[Found]:
    """Nodes out of a compose project, named as its services are; with a number where one has several containers."""
    by_service: dict[str, list[Container]] = {}
    for container in engine.project(project):
        by_service.setdefault(container.service or container.name, []).append(container)
    return [
        Found(service if len(containers) == 1 else f"{service}-{number}", {"container": each.name}, each.pid)
        for service, containers in by_service.items()
        for number, each in enumerate(containers, start=1)
    ]


def _identity(container: Any) -> str:
    if isinstance(container, str):
        return container
    wrapped = container.get_wrapped_container() if hasattr(container, "get_wrapped_container") else container
    return str(wrapped.id)


def configuration(found: Sequence[Found], agent_port: int, coordinator_port: int) -> dict[str, Any]:
    """A configuration with an agent on this machine that serves every place. Raises AttachError."""
    _refuse_unusable(found)
    port = {"trogdor.agent.port": agent_port}
    nodes: dict[str, Any] = {
        HOST: {"hostname": "127.0.0.1", **port},
        COORDINATOR: {"hostname": "127.0.0.1", "trogdor.coordinator.port": coordinator_port},
    }
    for each in found:
        first, *others = addresses(each.pid)
        nodes[each.name] = {
            "hostname": first, "addresses": others, "place": dict(each.place), "agent": HOST, **port
        }  # fmt: skip
    return {"nodes": nodes}


def _refuse_unusable(found: Sequence[Found]) -> None:
    problems, seen = [], {_network("self"): "this machine"}
    names = [HOST, COORDINATOR]
    for each in found:
        try:
            network = _network(str(each.pid))
        except OSError as error:
            problems.append(f"{each.name}: process {each.pid}: {error.strerror}")
            continue
        if network in seen:
            problems.append(f"{each.name}: it has no network namespace of its own, but that of {seen[network]}")
        elif not addresses(each.pid):
            problems.append(f"{each.name}: its network namespace has no address but loopback")
        if each.name in names:
            problems.append(f"{each.name}: there is a node of that name already")
        names.append(each.name)
        seen.setdefault(network, each.name)
    if problems or not found:
        raise AttachError("\n  ".join(problems or ["nothing to attach is named"]))


def _network(pid: str) -> int:
    return os.stat(f"/proc/{pid}/ns/net").st_ino


def addresses(pid: int) -> list[str]:
    """The addresses of a process's network namespace, IPv4 first, without loopback and link-local ones."""
    routes = Path(f"/proc/{pid}/net/fib_trie").read_text().split("Local:")[-1].splitlines()
    local = [before.split()[-1] for before, line in pairwise(routes) if "/32 host LOCAL" in line]
    found = dict.fromkeys(address for address in local if not address.startswith("127."))
    six = Path(f"/proc/{pid}/net/if_inet6")
    for line in six.read_text().splitlines() if six.exists() else ():
        address = IPv6Address(bytes.fromhex(line.split()[0]))
        if not address.is_loopback and not address.is_link_local:
            found[str(address)] = None
    return list(found)
