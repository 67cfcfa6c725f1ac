"""Plans of faults of files: one Kibosh fault each, in the control file's JSON."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trogdor.claim.model import Claim, Json, Term
from trogdor.platform.base import Fault, Plan, Scene
from trogdor.platform.linux.kibosh import CONTROL_FILE, STATS_FILE, is_ours, users_past
from trogdor.probe.expect import Expectation, ReadFails
from trogdor.spec import Spec, SpecError
from trogdor.spec import files as spec

MAX_LOOKED_AT = 2000
"""So many files are looked at for one that the probe can read."""

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
    """What a plan needs to know of the mount: whether it is our Kibosh, a file the probe can read, who uses files of
    its target past it."""

    ours: bool
    readable: str
    users_past: Sequence[str] = ()


def facts(asked: Any, scene: Scene) -> Mount:
    """Looks at the mount. Raises CannotInject where no Kibosh is mounted."""
    mount = asked.mount_path
    return Mount(is_ours(mount), next(_files(asked), ""), users_past(mount))


def _files(asked: Any) -> Iterator[str]:
    """Files below the mount that the fault is about, not empty, at most so many looked at."""
    if getattr(asked, "glob", "") or getattr(asked, "suffix", ""):
        return
    looked_at = 0
    start = os.path.join(asked.mount_path, asked.prefix.lstrip("/"))
    for folder, _, names in os.walk(start if os.path.isdir(start) else os.path.dirname(start)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            looked_at += 1
            if looked_at > MAX_LOOKED_AT:
                return
            is_meant = path.startswith(start) and name not in (CONTROL_FILE, STATS_FILE)
            if is_meant and os.path.isfile(path) and os.path.getsize(path):
                yield path


def plan_unreadable(asked: spec.FilesUnreadableFaultSpec, scene: Scene, mount: Mount, term: Term) -> Plan:
    """Upstream's: reads fail with an errno."""
    if not asked.mount_path or not 0 < asked.error_code < 200:
        raise SpecError("mountPath is needed, and errorCode from 1 on, such as 5 for EIO")
    want = {"type": "unreadable", "prefix": _prefix(asked.prefix, mount), "suffix": "", "code": asked.error_code}
    target = f"{asked.mount_path}{want['prefix']}: read fails with {errno.errorcode.get(asked.error_code, '?')}"
    expect = [ReadFails(mount.readable, asked.error_code)] if mount.readable else []
    return _plan(asked.mount_path, want, mount, term, target=target, expect=expect)


def _prefix(prefix: str, mount: Mount) -> str:
    """Upstream hands the prefix on as it is; ours begins with the mount's root, as the original's paths do."""
    return prefix if prefix.startswith("/") else f"/{prefix}"


def plan_fail(asked: spec.FilesFailFaultSpec, scene: Scene, mount: Mount, term: Term) -> Plan:
    """Any error on any operation."""
    want = {"type": "error", "operations": list(asked.operations), "code": asked.error, **_common(asked)}
    fails = "read" in asked.operations
    return _with_target(
        asked, want, mount, term, f"{', '.join(asked.operations)} fails with {asked.error}", read_fails=fails
    )


def plan_unwritable(asked: spec.FilesUnwritableFaultSpec, scene: Scene, mount: Mount, term: Term) -> Plan:
    """Writes fail."""
    want = {"type": "unwritable", "code": asked.error, **_common(asked)}
    return _with_target(asked, want, mount, term, f"write fails with {asked.error}")


def plan_slow(asked: spec.SlowFilesFaultSpec, scene: Scene, mount: Mount, term: Term) -> Plan:
    """A delay, a bandwidth, or both."""
    wants: list[Json] = []
    words = []
    if asked.delay_ms:
        wants.append(
            {
                "type": "delay", "operations": list(asked.operations), "delay_ms": asked.delay_ms,
                "jitterMs": asked.jitter_ms, "distribution": asked.distribution, **_common(asked),
            }
        )  # fmt: skip
        words.append(f"{', '.join(asked.operations)} takes {asked.delay_ms:g} ms longer")
    if asked.bytes_per_sec:
        wants.append({"type": "bandwidth", "bytesPerSec": asked.bytes_per_sec, **_common(asked)})
        words.append(f"{asked.bytes_per_sec} bytes/s")
    plans = [_with_target(asked, want, mount, term, word) for want, word in zip(wants, words, strict=True)]
    claims = [claim for plan in plans for claim in plan.claims]
    targets = [target for plan in plans for target in plan.targets]
    return Plan(claims, (), targets, plans[0].unverified, mount.users_past)


def plan_corrupt(asked: spec.CorruptFilesFaultSpec, scene: Scene, mount: Mount, term: Term) -> Plan:
    """Data that is not what it should be."""
    unit = {"unit": asked.unit} if asked.how == "torn" else {}
    want = {**CORRUPTION[asked.how], **unit, **_common(asked)}
    return _with_target(asked, want, mount, term, f"data is damaged ({asked.how})")


def plan_full(asked: spec.DiskFullFaultSpec, scene: Scene, mount: Mount, term: Term) -> Plan:
    """No space left."""
    want = {"type": "disk_full", "bytes": asked.after_bytes, **_common(asked)}
    return _with_target(asked, want, mount, term, f"full after {asked.after_bytes} more bytes")


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
    asked: spec.FilesFaultSpec, want: Json, mount: Mount, term: Term, words: str, *, read_fails: bool = False
) -> Plan:
    certain = asked.fraction is None and asked.count is None and asked.nth is None
    expect = []
    if read_fails and certain and mount.readable:
        expect = [ReadFails(mount.readable, getattr(errno, want["code"]))]
    target = f"{asked.mount_path}{asked.prefix}: {words}"
    return _plan(asked.mount_path, want, mount, term, target=target, expect=expect)


def _plan(path: str, want: Json, mount: Mount, term: Term, *, target: str, expect: Sequence[Expectation] = ()) -> Plan:
    claim = Claim(f"{term.worker_id}/{want['type']}", "kibosh" if mount.ours else "kibosh-c", path, want, term)
    why = "" if expect else "a probe would have to write to the system's files"
    if want["type"] == "unreadable" and not expect:
        why = "there is no file yet that the probe could read"
    return Plan([claim], expect, [target], why, mount.users_past)


WORDS = ("Added fault {task_id}", "Removed fault {task_id}")
READ = "A file below the mount is read as any program would: with the error while it holds, without it after."
UNSEEN = "Nothing: a probe would have to write to the system's files, so its status is unverified."


def _fault(asked: type[Spec], plan: Callable[[Any, Scene, Any, Term], Plan], checked_by: str) -> Fault:
    return Fault(asked, facts, plan, WORDS, kinds=("kibosh", "kibosh-c"), checked_by=checked_by)


FAULTS = (
    _fault(spec.FilesUnreadableFaultSpec, plan_unreadable, READ),
    _fault(spec.FilesFailFaultSpec, plan_fail, f"{READ} For operations other than read: unverified."),
    _fault(spec.FilesUnwritableFaultSpec, plan_unwritable, UNSEEN),
    _fault(spec.SlowFilesFaultSpec, plan_slow, UNSEEN),
    _fault(spec.CorruptFilesFaultSpec, plan_corrupt, UNSEEN),
    _fault(spec.DiskFullFaultSpec, plan_full, UNSEEN),
    _fault(spec.LoseUnsyncedWritesFaultSpec, plan_lose, UNSEEN),
)
