"""Which external command carries a workload out. Every workload is one: a process of its own that speaks JSON lines."""

import importlib.util
import json
import sys
from dataclasses import dataclass
from typing import Any

from trogdor.claim.model import CannotInject
from trogdor.spec import Spec, workload
from trogdor.topology import Node

COMMANDS = "trogdor.external.commands"
"""The setting of a node that lists the programs ExternalCommandSpec may run there; ``*`` stands for every one."""

MODULES: dict[type[Spec], str] = {
    workload.ProduceBenchSpec: "produce_bench",
    workload.ConsumeBenchSpec: "consume_bench",
    workload.ShareConsumeBenchSpec: "share_consume_bench",
    workload.RoundTripWorkloadSpec: "round_trip",
    workload.ShareRoundTripWorkloadSpec: "share_round_trip",
    workload.ConnectionStressSpec: "connection_stress",
    workload.SustainedConnectionSpec: "sustained_connection",
    workload.ConfigurableProducerSpec: "configurable_producer",
}
"""Spec class → module in ``trogdor.workload`` that is run for it, where it exists."""

GRACE_MS = 5000


@dataclass(frozen=True)
class Command:
    """A program to run, what it reads first, and the ms from SIGTERM to SIGKILL."""

    argv: tuple[str, ...]
    workload: Any
    grace_ms: int = GRACE_MS


def supports(spec: type[Spec]) -> bool:
    """Whether this version has a command for such specs."""
    if spec is workload.ExternalCommandSpec:
        return True
    return spec in MODULES and importlib.util.find_spec(f"trogdor.workload.{MODULES[spec]}") is not None


def command_of(spec: Spec, node: Node) -> Command:
    """The command for a workload on a node. Raises CannotInject when the node does not allow it."""
    if isinstance(spec, workload.ExternalCommandSpec):
        _check_allowed(spec, node)
        grace_ms = GRACE_MS if spec.shutdown_grace_period_ms is None else spec.shutdown_grace_period_ms
        return Command(spec.command, spec.workload, max(0, grace_ms))
    return Command((sys.executable, "-m", f"trogdor.workload.{MODULES[type(spec)]}"), spec.to_json())


def _check_allowed(spec: workload.ExternalCommandSpec, node: Node) -> None:
    if not spec.command:
        raise CannotInject("Unable to start process: No command specified")
    setting = node.settings.get(COMMANDS, "[]")
    try:
        allowed = json.loads(setting)
    except ValueError:
        allowed = [setting]
    allowed = allowed if isinstance(allowed, list) else [allowed]
    if "*" not in allowed and spec.command[0] not in allowed:
        raise CannotInject(
            f"Unable to start process: {spec.command[0]} is not allowed on {node.name}; "
            f'add it to "{COMMANDS}" of that node in the agent\'s configuration file'
        )
