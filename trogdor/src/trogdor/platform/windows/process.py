"""Plans of process stops on Windows: which processes are meant, and a claim on each."""

import json
import ntpath
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trogdor.claim.model import CannotInject, Claim, Term
from trogdor.platform.base import Fault, Plan, Scene
from trogdor.platform.windows.powershell import run
from trogdor.spec import SpecError
from trogdor.spec.process import MAX_PROCESSES, ProcessPauseFaultSpec, ProcessStopFaultSpec

LISTING = (
    "ConvertTo-Json -Compress @(Get-CimInstance Win32_Process | Where-Object CreationDate | ForEach-Object { @{ "
    "pid = $_.ProcessId; name = $_.Name; line = [string]$_.CommandLine; "
    "started = $_.CreationDate.ToFileTimeUtc() } })"
)
"""The script that lists every process, its start in 100 ns since 1601."""

UNTOUCHABLE = frozenset(
    {"system", "registry", "smss.exe", "csrss.exe", "wininit.exe", "winlogon.exe", "services.exe", "lsass.exe",
     "svchost.exe", "sshd.exe", "trogdor.exe", "memory compression"}
)  # fmt: skip
"""Never stopped: without them the machine itself stands still, or nobody could let it go on."""


@dataclass(frozen=True)
class Process:
    """One process as it was listed."""

    pid: int
    started: int
    name: str
    line: str

    @property
    def key(self) -> str:
        """``pid@start``: a pid that is used again is another process."""
        return f"{self.pid}@{self.started}"


def listed(text: str) -> list[Process]:
    """The processes that ``LISTING`` printed."""
    found: list[dict[str, Any]] = json.loads(text)
    return [Process(int(each["pid"]), int(each["started"]), each["name"], each["line"]) for each in found]


def matching(processes: Sequence[Process], match: Mapping[str, str]) -> list[Process]:
    """Those that meet every field of a ProcessMatch, none of them untouchable. Raises SpecError for other fields."""
    if unknown := sorted({*match} - {"name", "pattern", "javaMain"}):
        raise SpecError(f"match: {', '.join(unknown)} cannot be told on Windows")
    return [each for each in processes if not _is_untouchable(each) and _meets(each, match)]


def _is_untouchable(process: Process) -> bool:
    own = process.pid in (0, 4, os.getpid(), os.getppid())
    return own or process.name.lower() in UNTOUCHABLE or "trogdor" in process.line.lower()


def _meets(process: Process, match: Mapping[str, str]) -> bool:
    name = process.name.lower()
    wanted = match.get("name", "").lower()
    is_java = ntpath.splitext(name)[0] in ("java", "javaw")
    main = match.get("javaMain", "")
    words = process.line.replace('"', " ").split()
    return (
        (not wanted or wanted in (name, ntpath.splitext(name)[0]))
        and re.search(match.get("pattern", ""), process.line) is not None
        and (not main or (is_java and any(word == main or word.endswith(f".{main}") for word in words)))
    )


def found(match: Mapping[str, str], most: int) -> list[Process]:
    """The processes of this machine that match. Raises CannotInject when there are too many, or none can be listed."""
    try:
        processes = matching(listed(run(LISTING)), match)
    except (OSError, ValueError, re.error) as error:
        raise CannotInject(f"cannot look for the process: {error}") from None
    if len(processes) > most:
        raise CannotInject(f"{len(processes)} processes match, more than maxProcesses ({most})")
    return processes


def plan(spec: object, scene: Scene, facts: Sequence[Process], term: Term) -> Plan:
    """A claim on each process found."""
    return Plan(
        claims=[Claim(f"{term.worker_id}/{each.key}", "suspend", each.key, "stopped", term) for each in facts],
        expect=(),
        targets=[f"{each.name} (pid {each.pid})" for each in facts],
        unverified="no probe looks at Windows' processes" if facts else "no process matched",
    )


FAULTS = (
    Fault(
        spec=ProcessStopFaultSpec,
        facts=lambda spec, scene: found({"javaMain": spec.java_process_name}, MAX_PROCESSES),
        plan=plan,
        text=("stopped {spec.java_process_name}", "resumed {spec.java_process_name}"),
        kinds=("suspend",),
        checked_by="Nothing: its status is unverified.",
    ),
    Fault(
        spec=ProcessPauseFaultSpec,
        facts=lambda spec, scene: found(spec.match.to_json(), spec.max_processes),
        plan=plan,
        text=("stopped {spec.match}", "resumed {spec.match}"),
        kinds=("suspend",),
        checked_by="Nothing: its status is unverified.",
    ),
)
