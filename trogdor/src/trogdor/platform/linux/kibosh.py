"""The faults of a Kibosh mount, through its control file: ours, and confluentinc's original in C.

Ours keeps each owner's faults apart, replaces an owner's in one step, and lets a fault expire by itself. The original
knows neither: its whole list is read, changed and written, and only warden and replay undo what an agent left.
"""

import errno
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from trogdor.claim.model import CannotInject, Claim, Json, Net, Trouble
from trogdor.claim.place import Place
from trogdor.claim.resource import Resource

CONTROL_FILE = "kibosh_control"
STATS_FILE = "kibosh_stats"
MAX_BYTES = 1 << 20
EXPIRES_AFTER_MS = 500
"""Kibosh ends a fault by itself this long after the claim's end: when it does, its agent did not."""
NS_PER_MS = 1_000_000


def control_path(mount: str) -> str:
    """The control file of a mount."""
    return os.path.join(mount, CONTROL_FILE)


def is_ours(mount: str) -> bool:
    """Whether the Kibosh at ``mount`` is ours, and not the original. Raises CannotInject where there is none."""
    if not os.path.exists(control_path(mount)):
        raise CannotInject(
            f"Can't find file {control_path(mount)}: no Kibosh is mounted at {mount} "
            f"(`kibosh {mount} --target DIR` mounts one)"
        )
    return os.path.exists(os.path.join(mount, STATS_FILE))


def read_faults(mount: str) -> list[dict[str, Any]] | None:
    """The faults in force, in order; None where no Kibosh is mounted any more."""
    try:
        with open(control_path(mount), "rb") as control:
            document = json.loads(control.read(MAX_BYTES))
    except (OSError, ValueError):
        return None
    faults: list[dict[str, Any]] = document["faults"]
    return faults


def users_past(mount: str) -> list[str]:
    """Processes that have files of the mount's target open past the mount, as our Kibosh tells of them."""
    try:
        with open(os.path.join(mount, STATS_FILE), "rb") as stats:
            holders = json.loads(stats.read(MAX_BYTES)).get("outside", [])
    except (OSError, ValueError):
        return []
    return [
        f"{holder['process']} (pid {holder['pid']}) uses {holder['path']} past the mount and meets no fault"
        for holder in holders
    ]


def write_document(mount: str, document: Json) -> str:
    """Writes one document, in force on return; why it was refused, or an empty string. Raises OSError."""
    control = os.open(control_path(mount), os.O_RDWR | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(control, json.dumps(document).encode())
        try:
            os.fsync(control)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ESTALE, errno.ENOSPC, errno.ENODATA):
                return _why(os.pread(control, MAX_BYTES, 0)) or str(error)
            raise
    finally:
        os.close(control)
    return ""


def _trouble(mount: str, error: OSError) -> Trouble:
    """A mount that is gone took its faults with it; of any other error nobody knows."""
    if error.errno in (errno.ENOENT, errno.ENOTCONN, errno.ENODEV):
        return Trouble("gone", f"no Kibosh is mounted at {mount} any more: {error.strerror}")
    return Trouble("failed", f"{control_path(mount)}: {error.strerror}")


def _why(answer: bytes) -> str:
    try:
        problems = json.loads(answer)["errors"]
        return "; ".join(f"{problem['path']}: {problem['message']}" for problem in problems)
    except (ValueError, KeyError, TypeError):
        return ""


class Kibosh(Resource):
    """A mount of our Kibosh; the key is its path. A want is a fault of the control file's JSON."""

    kind: ClassVar[str] = "kibosh"
    nets: ClassVar[frozenset[Net]] = frozenset({Net.KERNEL, Net.WARDEN, Net.REPLAY})
    undone_by: ClassVar[str] = "Kibosh ends each fault by itself 500 ms after its time; warden and replay do before"

    def __init__(self, place: Place, node: str) -> None:
        super().__init__(place, node)
        self._to_lose: dict[str, dict[str, int]] = {}
        """Mount → claim id → end, of those at whose end unsynced writes are lost."""

    @property
    def _owner(self) -> str:
        return f"trogdor {self.node}"

    def prepare(self, claims: Sequence[Claim]) -> None:
        """Raises CannotInject where no Kibosh is mounted, or it does not take a fault."""
        for mount in {claim.key for claim in claims}:
            if not is_ours(mount):
                raise CannotInject(f"the Kibosh at {mount} is not ours any more")
            past = {"owner": f"{self._owner} check", "faults": [{**c.want, "untilBoottimeMs": 1} for c in claims]}
            if problem := write_document(mount, past):
                raise CannotInject(f"{mount}: Kibosh does not take the fault: {problem}")

    def apply(self, claims: Sequence[Claim], bases: Mapping[str, Json], now_ns: int) -> Mapping[str, Trouble]:
        troubles = {}
        for mount in bases:
            held = [claim for claim in claims if claim.key == mount]
            faults = [self._fault(claim) for claim in held]
            try:
                self._lose(mount, held, now_ns)
                problem = write_document(mount, {"owner": self._owner, "faults": faults})
            except OSError as error:
                troubles[mount] = _trouble(mount, error)
                continue
            if problem:
                troubles[mount] = Trouble("failed", problem)
        return troubles

    def _lose(self, mount: str, held: Sequence[Claim], now_ns: int) -> None:
        """What was not synced is lost by a claim that has come to its end, and by none that was stopped before."""
        before = self._to_lose.get(mount, {})
        self._to_lose[mount] = {claim.id: claim.term.end_ns for claim in held if claim.want["type"] == "lose_unsynced"}
        if any(end_ns <= now_ns for id_, end_ns in before.items() if id_ not in self._to_lose[mount]):
            write_document(mount, {"loseUnsynced": True})  # refused where Kibosh has done it already, at its own time

    def _fault(self, claim: Claim) -> Json:
        end_ms = claim.term.end_ns // NS_PER_MS
        at_end = {"atBoottimeMs": end_ms} if claim.want["type"] == "lose_unsynced" else {}
        return {**claim.want, **at_end, "id": claim.id, "untilBoottimeMs": end_ms + EXPIRES_AFTER_MS}

    @staticmethod
    def fold(base: Json, wants: Sequence[Json]) -> Json:
        return [want["type"] for want in wants] or base

    def observe(self, key: str) -> Json:
        faults = read_faults(key)
        if faults is None:
            return None
        return [fault["type"] for fault in faults if fault.get("owner") == self._owner] or None

    def kernel_end_ns(self, claim: Claim) -> int | None:
        return claim.term.end_ns + EXPIRES_AFTER_MS * NS_PER_MS

    def lost(self, claims: Sequence[Claim]) -> Mapping[str, Trouble]:
        lost = {}
        for mount in {claim.key for claim in claims}:
            faults = read_faults(mount)
            held = {fault.get("id") for fault in faults or ()}
            what = "gone" if faults is None else "changed"
            for claim in claims:
                if claim.key == mount and claim.id not in held:
                    lost[claim.id] = Trouble(what, f"{mount}: the fault is not in Kibosh's list any more")
        return lost

    def commands(self, key: str, base: Json) -> Sequence[str]:
        return [f"kibosh clear {key} --owner {self._owner!r}"]


class OriginalKibosh(Resource):
    """A mount of confluentinc's Kibosh; the key is its path. The base is the list of faults that were there."""

    kind: ClassVar[str] = "kibosh-c"
    nets: ClassVar[frozenset[Net]] = frozenset({Net.WARDEN, Net.REPLAY})
    undone_by: ClassVar[str] = "warden and replay write the list of faults that was there before"

    def __init__(self, place: Place, node: str) -> None:
        super().__init__(place, node)
        self._left: dict[str, Json] = {}
        """Mount → its list as we have left it: the original may say it otherwise than it was told."""

    def base(self, key: str) -> Json:
        """The list that is there; None where it cannot be read, and is not written either."""
        return read_faults(key)

    def prepare(self, claims: Sequence[Claim]) -> None:
        """Raises CannotInject for a fault that the original does not know, and where none is mounted."""
        for claim in claims:
            if not is_ours(claim.key) and read_faults(claim.key) is None:
                raise CannotInject(f"{control_path(claim.key)} cannot be read, and so not be put back")
            unknown = set(claim.want) - {"type", "prefix", "suffix", "code", "delay_ms", "fraction", "mode", "count"}
            if unknown:
                raise CannotInject(
                    f"{claim.key} is confluentinc's Kibosh, which knows no {', '.join(sorted(unknown))}: mount ours"
                )

    def apply(self, claims: Sequence[Claim], bases: Mapping[str, Json], now_ns: int) -> Mapping[str, Trouble]:
        troubles = {}
        for mount, base in bases.items():
            wants = [claim.want for claim in claims if claim.key == mount]
            if (left := self._left.get(mount)) is not None and read_faults(mount) not in (None, left):
                troubles[mount] = Trouble("changed", f"{mount}: somebody else has changed the list of faults")
                continue
            if base is None:
                troubles |= {mount: Trouble("failed", f"{control_path(mount)} could not be read")} if wants else {}
                continue
            try:
                _write_original(mount, {"faults": self.fold(base, wants)})
            except OSError as error:
                troubles[mount] = _trouble(mount, error)
                continue
            self._left[mount] = read_faults(mount)
        return troubles

    @staticmethod
    def fold(base: Json, wants: Sequence[Json]) -> Json:
        return [*(base or []), *wants]

    def observe(self, key: str) -> Json:
        return read_faults(key)

    def commands(self, key: str, base: Json) -> Sequence[str]:
        return [f"echo '{json.dumps({'faults': base or []})}' > {control_path(key)}"]


def _write_original(mount: str, document: Json) -> None:
    """The original reads what was written when the file is closed."""
    with open(control_path(mount), "wb") as control:
        control.write(json.dumps(document).encode())
