"""Plans of process stops: which processes are meant, and a claim on each."""

import re
from collections.abc import Sequence

from trogdor.claim.model import CannotInject, Claim, Term
from trogdor.platform.base import Fault, Plan, Scene
from trogdor.platform.linux import processes
from trogdor.platform.linux.processes import Process
from trogdor.probe.expect import ProcessStopped
from trogdor.spec.process import MAX_PROCESSES, ProcessPauseFaultSpec, ProcessStopFaultSpec

REPLAN_MS = 250
"""How late a process that appears during a fault is stopped at most, beside what it takes to find it."""


def plan(spec: object, scene: Scene, facts: Sequence[Process], term: Term) -> Plan:
    """A claim on each process found."""
    return Plan(
        claims=[Claim(f"{term.worker_id}/{each.key}", "process", each.key, "stopped", term) for each in facts],
        expect=[ProcessStopped(each.pid, each.started) for each in facts],
        targets=[each.words for each in facts],
        unverified="" if facts else "no process matched",
    )


def java_processes(spec: ProcessStopFaultSpec, scene: Scene) -> list[Process]:
    """The Java processes meant; none is no error, as upstream."""
    return _at_most(MAX_PROCESSES, _found({"javaMain": spec.java_process_name}, scene))


def matched_processes(spec: ProcessPauseFaultSpec, scene: Scene) -> list[Process]:
    """The processes meant, with their descendants if asked for."""
    found = _found(spec.match.to_json(), scene)
    return _at_most(spec.max_processes, processes.descendants(found, scene.place) if spec.tree else found)


def _found(match: dict[str, str], scene: Scene) -> list[Process]:
    try:
        return processes.find(scene.place, match)
    except (OSError, re.error, ValueError) as error:
        raise CannotInject(f"{scene.node.name}: cannot look for the process: {error}") from None


def _at_most(most: int, found: list[Process]) -> list[Process]:
    if len(found) > most:
        named = ", ".join(each.words for each in found[:most])
        raise CannotInject(f"{len(found)} processes match, more than maxProcesses ({most}): {named}, …")
    return found


CHECKED_BY = "The state of each process in /proc is stopped while it holds, and is not after."

FAULTS = (
    Fault(
        spec=ProcessStopFaultSpec,
        facts=java_processes,
        plan=plan,
        text=("stopped {spec.java_process_name}", "resumed {spec.java_process_name}"),
        kinds=("process",),
        checked_by=CHECKED_BY,
        replan_ms=REPLAN_MS,
    ),
    Fault(
        spec=ProcessPauseFaultSpec,
        facts=matched_processes,
        plan=plan,
        text=("stopped {spec.match}", "resumed {spec.match}"),
        kinds=("process",),
        checked_by=CHECKED_BY,
        replan_ms=REPLAN_MS,
    ),
)
