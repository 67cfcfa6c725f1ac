"""Plans of faults of files: one Kibosh fault each, in the control file's JSON."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trogdor.claim.model import Claim, Json, Term
from trogdor.platform.base import Fault, Plan, Scene
from trogdor.platform.linux.kibosh import CONTROL_FILE, STATS_FILE, is_ours, users_past
from trogdor.probe.expect import CallFails, CallSlow, DataDamaged, Expectation, ReadFails, RoomLeft
from trogdor.probe.unnamed import CALLS
from trogdor.spec import Spec, SpecError
from trogdor.spec import files as spec

MAX_LOOKED_AT = 2000
"""So many files are looked at for one that the probe can read."""
LEAST_DELAY_MS = 2
"""A shorter delay is not told from a busy machine."""
BLOCK = 4096

CORRUPTION: dict[str, dict[str, Json]] = {
    "bitFlip": {"type": "bit_flip"},
    "readZero": {"type": "read_corrupt", "mode": 1000},
    "readRandom": {"type": "read_corrupt", "mode": 1001},
    "writeZero": {"type": "write_corrupt", "mode": 1000},
    "writeRandom": {"type": "write_corrupt", "mode": 1001},
    "writeDrop": {"type": "write_corrupt", "mode": 1200},
    "torn": {"type": "torn_write"},
}


@dataclass(frozen=True)
class Mount:
    """What a plan needs to know of the mount."""

    ours: bool
    """Whether it is our Kibosh."""
    readable: str
    """A file the fault is about that the probe can read, or empty."""
    directory: str = ""
    """A directory whose files without a name the fault is about, or empty."""
    users_past: Sequence[str] = ()
    """Who uses files of its target past it."""


def facts(asked: Any, scene: Scene) -> Mount:
    """Looks at the mount. Raises CannotInject where no Kibosh is mounted."""
    mount = asked.mount_path
    ours = is_ours(mount)
    if getattr(asked, "glob", "") or getattr(asked, "suffix", ""):  # a file without a name has neither
        return Mount(ours, "", "", users_past(mount))
    start = os.path.join(mount, asked.prefix.lstrip("/"))
    return Mount(ours, next(_files(start), ""), _directory(start), users_past(mount))


def _files(start: str) -> Iterator[str]:
    """Files whose path begins so, not empty, at most so many looked at."""
    looked_at = 0
    for folder, _, names in os.walk(start if os.path.isdir(start) else os.path.dirname(start)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            looked_at += 1
            if looked_at > MAX_LOOKED_AT:
                return
            is_meant = path.startswith(start) and name not in (CONTROL_FILE, STATS_FILE)
            if is_meant and os.path.isfile(path) and os.path.getsize(path):
                yield path


def _directory(start: str) -> str:
    """A directory whose path begins so."""
    if os.path.isdir(start):
        return start.rstrip("/")
    above, beginning = os.path.split(start)
    try:
        with os.scandir(above) as entries:
            found = [entry.path for entry in entries if entry.name.startswith(beginning) and entry.is_dir()]
    except OSError:
        return ""
    return min(found, default="")


def plan_unreadable(asked: spec.FilesUnreadableFaultSpec, scene: Scene, mount: Mount, term: Term) -> Plan:
    """Upstream's: reads fail with an errno."""
    if not asked.mount_path or not 0 < asked.error_code < 200:
        raise SpecError("mountPath is needed, and errorCode from 1 on, such as 5 for EIO")
    want = {"type": "unreadable", "prefix": _prefix(asked.prefix, mount), "suffix": "", "code": asked.error_code}
    target = f"{asked.mount_path}{want['prefix']}: read fails with {errno.errorcode.get(asked.error_code, '?')}"
    expect = _failing(("read",), asked.error_code, mount)
    return _plan(asked.mount_path, want, mount, term, target=target, expect=expect)


def _prefix(prefix: str, mount: Mount) -> str:
    """Upstream hands the prefix on as it is; ours begins with the mount's root, as the original's paths do."""
    return prefix if prefix.startswith("/") else f"/{prefix}"


def plan_fail(asked: spec.FilesFailFaultSpec, scene: Scene, mount: Mount, term: Term) -> Plan:
    """Any error on any operation."""
    want = {"type": "error", "operations": list(asked.operations), "code": asked.error, **_common(asked)}
    expect = _failing(asked.operations, getattr(errno, asked.error), mount)
    return _with_target(
        asked, want, mount, term, f"{', '.join(asked.operations)} fails with {asked.error}", expect=expect
    )


def plan_unwritable(asked: spec.FilesUnwritableFaultSpec, scene: Scene, mount: Mount, term: Term) -> Plan:
    """Writes fail."""
    want = {"type": "unwritable", "code": asked.error, **_common(asked)}
    expect = _failing(("write",), getattr(errno, asked.error), mount)
    return _with_target(asked, want, mount, term, f"write fails with {asked.error}", expect=expect)


def _failing(operations: Sequence[str], code: int, mount: Mount) -> list[Expectation]:
    """A file of the system is read; for all else one without a name is used."""
    if mount.readable and not {"open", "read"}.isdisjoint(operations):
        return [ReadFails(mount.readable, code)]
    call = _call_for(operations)
    return [CallFails(mount.directory, call, code)] if mount.directory and call else []


def _call_for(operations: Sequence[str]) -> str:
    return next((operation for operation in operations if operation in CALLS), "")


def plan_slow(asked: spec.SlowFilesFaultSpec, scene: Scene, mount: Mount, term: Term) -> Plan:
    """A delay, a bandwidth, or both."""
    plans = []
    if asked.delay_ms:
        want: Json = {
            "type": "delay", "operations": list(asked.operations), "delay_ms": asked.delay_ms,
            "jitterMs": asked.jitter_ms, "distribution": asked.distribution, **_common(asked),
        }  # fmt: skip
        words = f"{', '.join(asked.operations)} takes {asked.delay_ms:g} ms longer"
        plans.append(_with_target(asked, want, mount, term, words, expect=_slow(asked, mount)))
    if asked.bytes_per_sec:
        want = {"type": "bandwidth", "bytesPerSec": asked.bytes_per_sec, **_common(asked)}
        plans.append(_with_target(asked, want, mount, term, f"{asked.bytes_per_sec} bytes/s"))
    expect = [each for plan in plans for each in plan.expect]
    notes = [*mount.users_past, *(["not probed: the bandwidth"] if expect and asked.bytes_per_sec else [])]
    return Plan(
        claims=[claim for plan in plans for claim in plan.claims],
        expect=expect,
        targets=[target for plan in plans for target in plan.targets],
        unverified="" if expect else plans[0].unverified,
        notes=notes,
    )


def _slow(asked: spec.SlowFilesFaultSpec, mount: Mount) -> list[Expectation]:
    """Only a delay that has a least value can be told from no delay by one call."""
    least_ms = {"constant": asked.delay_ms, "uniform": asked.delay_ms - asked.jitter_ms}.get(asked.distribution, 0)
    call = _call_for(asked.operations)
    is_told = mount.directory and call and least_ms >= LEAST_DELAY_MS
    return [CallSlow(mount.directory, call, least_ms)] if is_told else []


def plan_corrupt(asked: spec.CorruptFilesFaultSpec, scene: Scene, mount: Mount, term: Term) -> Plan:
    """Data that is not what it should be."""
    unit = {"unit": asked.unit} if asked.how == "torn" else {}
    want = {**CORRUPTION[asked.how], **unit, **_common(asked)}
    size = max(BLOCK, 2 * asked.unit)
    expect = [DataDamaged(mount.directory, size)] if mount.directory else []
    return _with_target(asked, want, mount, term, f"data is damaged ({asked.how})", expect=expect)


def plan_full(asked: spec.DiskFullFaultSpec, scene: Scene, mount: Mount, term: Term) -> Plan:
    """No space left."""
    want = {"type": "disk_full", "bytes": asked.after_bytes, **_common(asked)}
    expect = [RoomLeft(mount.directory, asked.after_bytes)] if mount.directory else []
    return _with_target(asked, want, mount, term, f"full after {asked.after_bytes} more bytes", expect=expect)


def plan_lose(asked: spec.LoseUnsyncedWritesFaultSpec, scene: Scene, mount: Mount, term: Term) -> Plan:
    """What was not synced is lost at the end."""
    want = {"type": "lose_unsynced", **_common(asked)}
    return _with_target(asked, want, mount, term, "unsynced writes are lost at the end")


def _common(asked: spec.FilesFaultSpec) -> dict[str, Json]:
    given = {
        "prefix": asked.prefix, "suffix": asked.suffix, "glob": asked.glob or None, "fraction": asked.fraction,
        "count": asked.count, "nth": asked.nth, "seed": asked.seed or None,
    }  # fmt: skip
    return {key: value for key, value in given.items() if value is not None}


def _with_target(
    asked: spec.FilesFaultSpec,
    want: Json,
    mount: Mount,
    term: Term,
    words: str,
    *,
    expect: Sequence[Expectation] = (),
) -> Plan:
    certain = asked.fraction is None and asked.count is None and asked.nth is None
    target = f"{asked.mount_path}{asked.prefix}: {words}"
    why = "" if certain else "only some calls meet it, and a probe must not use them up"
    return _plan(asked.mount_path, want, mount, term, target=target, expect=expect if certain else (), why=why)


def _plan(
    path: str,
    want: Json,
    mount: Mount,
    term: Term,
    *,
    target: str,
    expect: Sequence[Expectation] = (),
    why: str = "",
) -> Plan:
    claim = Claim(f"{term.worker_id}/{want['type']}", "kibosh" if mount.ours else "kibosh-c", path, want, term)
    if not expect and not why:
        touches = "a probe would have to use the system's files"
        why = touches if mount.directory or mount.readable else "no file is there yet that the probe could use"
    return Plan([claim], expect, [target], "" if expect else why, mount.users_past)


WORDS = ("Added fault {task_id}", "Removed fault {task_id}")
READ = "A file below the mount is read as any program would: with the error while it holds, without it after."
UNNAMED = "a file without a name (O_TMPFILE) below the mount"
WRITTEN = f"The call is made on {UNNAMED}: with the error while it holds, without it after."


def _fault(asked: type[Spec], plan: Callable[[Any, Scene, Any, Term], Plan], checked_by: str) -> Fault:
    return Fault(asked, facts, plan, WORDS, kinds=("kibosh", "kibosh-c"), checked_by=checked_by)


FAULTS = (
    _fault(spec.FilesUnreadableFaultSpec, plan_unreadable, READ),
    _fault(
        spec.FilesFailFaultSpec,
        plan_fail,
        f"For open and read as FilesUnreadable. {WRITTEN} For operations that need a name, such as rename: unverified.",
    ),
    _fault(spec.FilesUnwritableFaultSpec, plan_unwritable, WRITTEN),
    _fault(
        spec.SlowFilesFaultSpec,
        plan_slow,
        f"A call on {UNNAMED} is timed before, during and after. A bandwidth, or a delay without a least value: "
        f"unverified.",
    ),
    _fault(
        spec.CorruptFilesFaultSpec,
        plan_corrupt,
        f"What is written to {UNNAMED} is read back: it differs while it holds, and is the same before and after.",
    ),
    _fault(
        spec.DiskFullFaultSpec,
        plan_full,
        "statfs(2) tells of no more room than asked for, and of more before and after.",
    ),
    _fault(
        spec.LoseUnsyncedWritesFaultSpec, plan_lose, "Nothing: it is felt at its end only, so its status is unverified."
    ),
)
