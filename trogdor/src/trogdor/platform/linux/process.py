"""Plans of process faults: which processes are meant, and a claim on each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trogdor.claim.model import CannotInject, Claim, Term
from trogdor.platform.base import Fault, Plan, Scene
from trogdor.platform.linux import kill, processes
from trogdor.platform.linux.freezer import FROZEN, directory_of, group_of
from trogdor.platform.linux.processes import Process
from trogdor.probe.expect import ProcessGone, ProcessStopped
from trogdor.spec.process import MAX_PROCESSES, ProcessKillFaultSpec, ProcessPauseFaultSpec, ProcessStopFaultSpec

REPLAN_MS = 250
"""How late a process that appears during a fault is stopped at most, beside what it takes to find it."""


@dataclass(frozen=True)
class Targets:
    """The processes found, and the key of the control group that holds just them."""

    processes: Sequence[Process]
    group: str = ""


def plan(spec: object, scene: Scene, facts: Targets, term: Term) -> Plan:
    """A claim on the processes' control group, or else on each process."""
    wants = [("process", each.key, "stopped") for each in facts.processes]
    if facts.group:
        wants = [("freezer", facts.group, FROZEN)]
    group = directory_of(facts.group)
    return Plan(
        claims=[Claim(f"{term.worker_id}/{key}", kind, key, want, term) for kind, key, want in wants],
        expect=[ProcessStopped(each.pid, each.started, group) for each in facts.processes],
        targets=[each.words for each in facts.processes],
        unverified="" if facts.processes else "no process matched",
    )


KILLED_WITHIN_MS, ENDED_WITHIN_MS = 1_000, 30_000
"""So long may it take that a process is gone: one that cannot help it, and one that was asked to end."""


def plan_kill(spec: ProcessKillFaultSpec, scene: Scene, facts: Sequence[Process], term: Term) -> Plan:
    """A claim on each process found; how it is started again belongs to the claim's key."""
    within_ms = KILLED_WITHIN_MS if spec.signal == "KILL" else ENDED_WITHIN_MS
    again = "other" if spec.restart_command else spec.restart
    keys = {each: kill.key_of(each.key, spec.signal, spec.restart, spec.restart_command) for each in facts}
    return Plan(
        claims=[Claim(f"{term.worker_id}/{each.key}", "kill", keys[each], "killed", term) for each in facts],
        expect=[ProcessGone(each.pid, each.started, within_ms, again) for each in facts],
        targets=[each.words for each in facts],
        unverified="" if facts else "no process matched",
    )


def java_processes(spec: ProcessStopFaultSpec, scene: Scene) -> Targets:
    """The Java processes meant; none is no error, as upstream."""
    return Targets(_at_most(MAX_PROCESSES, _found({"javaMain": spec.java_process_name}, scene)))


def processes_to_kill(spec: ProcessKillFaultSpec, scene: Scene) -> list[Process]:
    """The processes meant."""
    return _at_most(spec.max_processes, _found(spec.match.to_json(), scene))


def matched_processes(spec: ProcessPauseFaultSpec, scene: Scene) -> Targets:
    """The processes meant; with their descendants if asked for, by the control group where they have one alone."""
    found = _found(spec.match.to_json(), scene)
    if not spec.tree:
        return Targets(_at_most(spec.max_processes, found))
    tree = _at_most(spec.max_processes, processes.descendants(found, scene.place))
    return Targets(tree, group_of({each.pid for each in tree}))


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


CHECKED_BY = (
    "The state of each process in /proc is stopped, or cgroup.events says that its control group is frozen, while it "
    "holds, and is not after."
)

FAULTS = (
    Fault(
        spec=ProcessKillFaultSpec,
        facts=processes_to_kill,
        plan=plan_kill,
        text=("killed {spec.match}", "ended the killing of {spec.match}"),
        kinds=("kill",),
        checked_by="Each process is gone from /proc while it holds, and one like it is there after.",
    ),
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
        kinds=("freezer", "process"),
        checked_by=CHECKED_BY,
        replan_ms=REPLAN_MS,
    ),
)
