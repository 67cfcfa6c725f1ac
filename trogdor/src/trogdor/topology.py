"""Nodes and topology, and the configuration file that upstream's Trogdor reads (BasicPlatform, BasicTopology)."""

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

DEFAULT_AGENT_PORT = 8888
DEFAULT_COORDINATOR_PORT = 8889
AGENT_PORT = "trogdor.agent.port"
COORDINATOR_PORT = "trogdor.coordinator.port"
EXTERNAL_COMMANDS = "trogdor.external.commands"
"""The setting of a node that lists the programs that specs may have run there; ``*`` stands for every one."""
BASIC_PLATFORM = "org.apache.kafka.trogdor.basic.BasicPlatform"


class TopologyError(ValueError):
    """A configuration that cannot be used; ``problems`` lists each with its path."""

    def __init__(self, source: str, problems: list[str]) -> None:
        super().__init__("\n".join([f"{source}: {len(problems)} problem(s)", *(f"  {line}" for line in problems)]))
        self.problems = problems


@dataclass(frozen=True)
class Place:
    """Where a node is: this machine, or the namespaces of a process or of a container on it."""

    pid: int | None = None
    container: str | None = None

    @property
    def is_here(self) -> bool:
        """Whether the node is the machine itself, as the agent sees it."""
        return self.pid is None and self.container is None


def is_allowed(program: str, allowed: Collection[str]) -> bool:
    """Whether a program is among those a node allows."""
    return "*" in allowed or program in allowed


@dataclass(frozen=True)
class Node:
    """One node: what a topology knows of it. Ports are None where no such daemon runs."""

    name: str
    hostname: str = "localhost"
    agent_port: int | None = None
    coordinator_port: int | None = None
    tags: frozenset[str] = frozenset()
    addresses: tuple[str, ...] = ()
    """Further addresses of the node, beside those that ``hostname`` stands for."""
    place: Place = Place()
    agent: str = ""
    """The node whose agent serves this one, which is a place on its machine; empty: it has an agent of its own."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Everything else in the node's configuration, as strings, as upstream's ``Node.getConfig``."""

    @property
    def allowed_programs(self) -> list[str]:
        """The programs that specs may have run, as the node's configuration lists them; ``*``: any."""
        setting = self.settings.get(EXTERNAL_COMMANDS, "[]")
        try:
            allowed = json.loads(setting)
        except ValueError:
            allowed = setting
        return [*map(str, allowed)] if isinstance(allowed, list) else [str(allowed)]

    def may_run(self, program: str) -> bool:
        """Whether a program is among those that specs may have run."""
        return is_allowed(program, self.allowed_programs)


@dataclass(frozen=True)
class Topology:
    """The nodes by name."""

    nodes: Mapping[str, Node]
    platform: str = BASIC_PLATFORM

    def agents(self) -> list[str]:
        """The names of the nodes that have an agent, sorted."""
        return [*self._agents]

    @cached_property
    def _agents(self) -> tuple[str, ...]:
        return tuple(sorted(name for name, node in self.nodes.items() if node.agent_port is not None))

    def agent_hostname(self, name: str) -> str:
        """Where the agent that serves a node is reached."""
        node = self.nodes[name]
        return self.nodes[node.agent].hostname if node.agent else node.hostname

    def tagged(self, tag: str) -> list[str]:
        """The names of the nodes with this tag, sorted."""
        return sorted(name for name, node in self.nodes.items() if tag in node.tags)


def default_state() -> Path:
    """Where daemons keep their state, one directory a node: ``/var/lib/trogdor`` as root."""
    if os.geteuid() == 0:
        return Path("/var/lib/trogdor")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "trogdor"


def read_topology(path: Path) -> Topology:
    """The topology in a configuration file. Raises TopologyError with every problem, or OSError."""
    text = path.read_text()
    try:
        document = json.loads(text)
    except ValueError as error:
        raise TopologyError(str(path), [f"not JSON: {error}"]) from None
    return topology_of(document, str(path))


def topology_of(document: Any, source: str = "topology") -> Topology:
    """The topology that a parsed configuration file describes. Raises TopologyError with every problem."""
    problems: list[str] = []
    if not isinstance(document, dict) or not isinstance(document.get("nodes"), dict):
        raise TopologyError(source, ['nodes: an object of nodes by name is wanted: {"nodes": {"n1": {…}}}'])
    nodes = {}
    for name, entry in document["nodes"].items():
        if isinstance(entry, dict):
            nodes[name] = _node_of(name, entry, {"", *document["nodes"]}, problems)
        else:
            problems.append(f"nodes.{name}: an object is wanted")
    platform = document.get("platform", BASIC_PLATFORM)
    if not isinstance(platform, str):
        problems.append("platform: a string is wanted")
    if problems:
        raise TopologyError(source, problems)
    return Topology(nodes, platform)


def _node_of(name: str, entry: dict[str, Any], known: Collection[str], problems: list[str]) -> Node:
    def fault(path: str, wanted: str) -> None:
        problems.append(f"nodes.{name}.{path}: {wanted}")

    hostname = entry.get("hostname", "localhost")
    if not isinstance(hostname, str) or not hostname:
        fault("hostname", "a name or address is wanted")
    agent = entry.get("agent", "")
    if agent not in known:
        fault("agent", f"the node whose agent serves this one is wanted, not {agent!r}")
    settings = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in entry.items()
        if key not in ("hostname", "tags", "addresses", "place", "agent")
    }
    return Node(
        name=name,
        hostname=hostname,
        agent_port=_port(settings, AGENT_PORT, fault),
        coordinator_port=_port(settings, COORDINATOR_PORT, fault),
        tags=frozenset(_strings(entry, "tags", fault)),
        addresses=tuple(_strings(entry, "addresses", fault)),
        place=_place(entry.get("place"), fault),
        agent=agent,
        settings=settings,
    )


def _port(settings: dict[str, str], key: str, fault: Any) -> int | None:
    if key not in settings:
        return None
    text = settings[key].strip()
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        fault(key, f"a port from 0 to 65535 is wanted, not {settings[key]!r}")
        return None
    return int(text)


def _strings(entry: dict[str, Any], key: str, fault: Any) -> list[str]:
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        fault(key, "a list of strings is wanted")
        return []
    return value


def _place(value: Any, fault: Any) -> Place:
    if value is None:
        return Place()
    if isinstance(value, dict) and len(value) == 1:
        if isinstance(value.get("pid"), int) and value["pid"] > 0:
            return Place(pid=value["pid"])
        if isinstance(value.get("container"), str) and value["container"]:
            return Place(container=value["container"])
    fault("place", '{"pid": 17} or {"container": "name"} is wanted')
    return Place()
