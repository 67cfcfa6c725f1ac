"""What becomes of a spec before it is a task: where it runs, or why it cannot. Pure but for what it is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from trogdor.coordinator import java
from trogdor.coordinator.nodes import Agent
from trogdor.coordinator.state import is_fault
from trogdor.spec import Spec, SpecError, UnknownSpecClass, parse
from trogdor.spec.problems import problems_in, shown
from trogdor.topology import EXTERNAL_COMMANDS, Node, Topology, is_allowed
from trogdor.wire.errors import BadRequest


class CannotRun(Exception):
    """A task that is created DONE, with this error in upstream's words."""


@dataclass(frozen=True)
class Cluster:
    """What admission looks at: the nodes, their agents, and the node that the coordinator itself runs on."""

    topology: Topology
    agents: Mapping[str, Agent]
    coordinator: Node


def nodes_for(spec: Spec, cluster: Cluster) -> list[str]:
    """The nodes that are to carry a spec out. Raises CannotRun for upstream's classes, BadRequest for our own."""
    if refused := _refused_programs(spec, cluster.coordinator):
        raise BadRequest("; ".join(f"{path}: {message}" for path, message in refused.items()))
    try:
        return _nodes_for(spec, cluster.topology, cluster.agents)
    except CannotRun as error:
        if spec.is_upstream:
            raise
        raise BadRequest(str(error.__cause__ or error)) from None


def _refused_programs(spec: Spec, coordinator: Node) -> dict[str, str]:
    """Whoever may create tasks is not to get a shell where the coordinator runs."""
    return {
        path: f'{program} is not allowed on {coordinator.name}; add it to "{EXTERNAL_COMMANDS}" of that node in the '
        "coordinator's configuration file"
        for path, program in spec.programs().items()
        if not coordinator.may_run(program)
    }


def _nodes_for(spec: Spec, topology: Topology, agents: Mapping[str, Agent]) -> list[str]:
    try:
        spec.check(topology)
    except SpecError as error:
        raise CannotRun(f"Failed to create TaskController: {error}") from error
    try:
        names = spec.target_nodes(topology)
        if not names:
            raise SpecError("No node names specified.")
        if without := [name for name in names if name not in agents]:
            raise SpecError(f"No agent is configured on {', '.join(without)}: its trogdor.agent.port is not set.")
    except SpecError as error:
        raise CannotRun(f"Unable to find nodes for task: {error}") from error
    for name in names:
        if agents[name].kind == "java" and (reason := java.refusal(name, spec)):
            raise CannotRun(reason)
    return names


def problems_of(document: Any, cluster: Cluster) -> tuple[list[dict[str, str]], list[str]]:
    """Every problem of a spec in JSON, and the nodes it would run on.

    A problem is ``{path, message, kind}``; its kind is ``spec``, ``unreachable`` or ``impossible``.
    """
    if not isinstance(document, dict):
        return [_problem("spec", "a JSON object is wanted")], []
    try:
        spec = parse(document)
    except ValidationError as error:
        return [_problem(shown(path, "spec"), message) for path, message in problems_in(error)], []
    except UnknownSpecClass as error:
        return [_problem("spec.class", str(error))], []
    refused = _refused_programs(spec, cluster.coordinator)
    problems = [_problem(f"spec.{path}", message) for path, message in refused.items()]
    try:
        names = _nodes_for(spec, cluster.topology, cluster.agents)
    except CannotRun as error:
        return [*problems, _problem("spec", str(error.__cause__ or error))], []
    return [*problems, *(problem for name in names for problem in _problems_on(cluster.agents[name], spec))], names


def _problems_on(agent: Agent, spec: Spec) -> list[dict[str, str]]:
    name = agent.node.name
    if not agent.up:
        return [_problem("spec", f"node {name}: no agent answers at {agent.target}", "unreachable")]
    classes = agent.features.get("classes")
    unknown = spec.classes() - set(classes) if agent.kind == "own" and classes is not None else set()
    missing = agent.features.get("missing") or {}
    problems = []
    if agent.frozen and is_fault(spec):
        refused = f"frozen: node {name} refuses new faults until `trogdor thaw {name}`"
        problems.append(_problem("spec", refused, "impossible"))
    problems += [_problem(f"spec.{path}", why, "impossible") for path, why in _refused_commands(agent, spec).items()]
    for wanted in sorted(unknown):
        what = "this" if wanted == spec.class_name else wanted.rpartition(".")[2]
        why = missing.get(wanted) or "; ".join(_by_reason(missing))
        cannot = f"node {name} cannot do {what}" + (f": {why}" if why else "")
        problems.append(_problem("spec.class", cannot, "impossible"))
    return problems


def _by_reason(missing: Mapping[str, str]) -> list[str]:
    """What is missing, each reason once."""
    reasons = dict.fromkeys(missing.values())
    return [f"{', '.join(what for what, why in missing.items() if why == reason)}: {reason}" for reason in reasons]


def _refused_commands(agent: Agent, spec: Spec) -> dict[str, str]:
    """Agents of ours say what they may run; upstream's run everything."""
    name = agent.node.name
    allowed = agent.features.get("commands", {}).get(name, ["*"])
    return {
        path: f'{program} is not allowed on {name}; add it to "{EXTERNAL_COMMANDS}" of that node in the agent\'s '
        "configuration file"
        for path, program in spec.commands().items()
        if not is_allowed(program, allowed)
    }


def _problem(path: str, message: str, kind: str = "spec") -> dict[str, str]:
    return {"path": path, "message": message, "kind": kind}
