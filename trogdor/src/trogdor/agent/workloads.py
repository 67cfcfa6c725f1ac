"""Which external command carries a workload out. Every workload is one: a process of its own that speaks JSON lines."""

import importlib.util
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trogdor.claim.model import CannotInject
from trogdor.spec import Spec
from trogdor.spec.base import UPSTREAM
from trogdor.topology import EXTERNAL_COMMANDS, Node

if TYPE_CHECKING:
    from trogdor.spec.workload import ExternalCommandSpec

MODULES = {
    f"{UPSTREAM}workload.{name}": module
    for name, module in {
        "ProduceBenchSpec": "produce_bench",
        "ConsumeBenchSpec": "consume_bench",
        "ShareConsumeBenchSpec": "share_consume_bench",
        "RoundTripWorkloadSpec": "round_trip",
        "ShareRoundTripWorkloadSpec": "share_round_trip",
        "ConnectionStressSpec": "connection_stress",
        "SustainedConnectionSpec": "sustained_connection",
        "ConfigurableProducerSpec": "configurable_producer",
    }.items()
}
"""A spec's ``class`` → module in ``trogdor.workload`` that is run for it, where it exists."""

EXTERNAL = f"{UPSTREAM}workload.ExternalCommandSpec"

GRACE_MS = 5000


@dataclass(frozen=True)
class Command:
    """A program to run, what it reads first, and the ms from SIGTERM to SIGKILL."""

    argv: tuple[str, ...]
    workload: Any
    grace_ms: int = GRACE_MS


def supports(spec: type[Spec]) -> bool:
    """Whether this version has a command for such specs."""
    if spec.class_name == EXTERNAL:
        return True
    module = MODULES.get(spec.class_name)
    return module is not None and importlib.util.find_spec(f"trogdor.workload.{module}") is not None


def command_of(spec: Spec, node: Node) -> Command:
    """The command for a workload on a node. Raises CannotInject when the node does not allow it."""
    from trogdor.spec.workload import ExternalCommandSpec  # which is there if the spec is of its family

    if isinstance(spec, ExternalCommandSpec):
        _check_allowed(spec, node)
        grace_ms = GRACE_MS if spec.shutdown_grace_period_ms is None else spec.shutdown_grace_period_ms
        return Command(spec.command, spec.workload, max(0, grace_ms))
    return Command((sys.executable, "-P", "-m", f"trogdor.workload.{MODULES[spec.class_name]}"), spec.to_json())


def _check_allowed(spec: "ExternalCommandSpec", node: Node) -> None:
    if not spec.command:
        raise CannotInject("Unable to start process: No command specified")
    if not node.may_run(spec.command[0]):
        raise CannotInject(
            f"Unable to start process: {spec.command[0]} is not allowed on {node.name}; "
            f'add it to "{EXTERNAL_COMMANDS}" of that node in the agent\'s configuration file'
        )
