"""The faults, as typed values. Field names are those of the control file's JSON, in Python's spelling.

`docs/kibosh.md` explains each; a field that is None is left out and takes the daemon's default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from enum import IntEnum
from textwrap import wrap
from typing import Any, ClassVar

__all__ = [
    "Bandwidth",
    "BitFlip",
    "CorruptMode",
    "Crash",
    "Delay",
    "DiskFull",
    "Error",
    "Fault",
    "FsyncOnce",
    "LoseUnsynced",
    "ReadCorrupt",
    "ReadDelay",
    "TornWrite",
    "Unknown",
    "Unreadable",
    "Unwritable",
    "WriteCorrupt",
    "WriteDelay",
    "reference",
]


class CorruptMode(IntEnum):
    """What a corrupt fault does to data; upstream's numbers."""

    ZERO = 1000
    RANDOM = 1001
    ZERO_TAIL = 1100
    RANDOM_TAIL = 1101
    DROP = 1200


#: Upstream wrote this one with an underscore; every field of ours is in camel case.
_AS_UPSTREAM = {"delay_ms"}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What all faults share: which calls they meet, and when.

    prefix, suffix: of the path from the mount's root ("/…"); glob: of the whole path, `**` crosses
    directories. uid, process: of the caller. nth: the first selected call to fire at, from 1; count: at
    how many calls; fraction: the chance of each. duration_ms, until_boottime_ms: when it ends by itself.
    then: "kill" (the calling process), "lose_unsynced". owner, id: kept and read back, for tools.
    """

    type: ClassVar[str] = ""

    prefix: str = "/"
    suffix: str = ""
    glob: str | None = None
    uid: int | None = None
    process: str | None = None
    nth: int | None = None
    count: int | None = None
    fraction: float | None = None
    duration_ms: int | None = None
    until_boottime_ms: int | None = None
    seed: int | None = None
    then: Sequence[str] | None = None
    owner: str | None = None
    id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fault as the control file's JSON object."""
        json: dict[str, Any] = {"type": self.type}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                json[_wire_name(field.name)] = list(value) if isinstance(value, tuple) else value
        return json

    @staticmethod
    def from_json(json: Mapping[str, Any]) -> Fault:
        """The typed fault of a JSON object; `Unknown` if this version has no such type or field."""
        kind = _TYPES.get(json.get("type", ""))
        given = {_python_name(name): value for name, value in json.items() if name != "type"}
        if kind is None or not given.keys() <= {field.name for field in fields(kind)}:
            return Unknown(json=dict(json))
        return kind(**given)


@dataclass(frozen=True, kw_only=True)
class Unreadable(Fault):
    """read(2) fails with `code`, an errno or its name."""

    type: ClassVar[str] = "unreadable"
    code: int | str


@dataclass(frozen=True, kw_only=True)
class Unwritable(Fault):
    """write(2) fails with `code`."""

    type: ClassVar[str] = "unwritable"
    code: int | str


@dataclass(frozen=True, kw_only=True)
class _Delayed(Fault):
    delay_ms: float
    jitter_ms: float | None = None
    distribution: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReadDelay(_Delayed):
    """read(2) takes `delay_ms` longer; distribution: constant, uniform, normal, exponential, pareto."""

    type: ClassVar[str] = "read_delay"


@dataclass(frozen=True, kw_only=True)
class WriteDelay(_Delayed):
    """write(2) takes `delay_ms` longer."""

    type: ClassVar[str] = "write_delay"


@dataclass(frozen=True, kw_only=True)
class ReadCorrupt(Fault):
    """read(2) returns changed data. `fraction` is that of the bytes; after `count` reads all is dropped."""

    type: ClassVar[str] = "read_corrupt"
    mode: int


@dataclass(frozen=True, kw_only=True)
class WriteCorrupt(Fault):
    """write(2) stores changed data. `fraction` is that of the bytes; after `count` writes all is dropped."""

    type: ClassVar[str] = "write_corrupt"
    mode: int


@dataclass(frozen=True, kw_only=True)
class Error(Fault):
    """Any of `operations` fails with `code`."""

    type: ClassVar[str] = "error"
    operations: Sequence[str]
    code: int | str


@dataclass(frozen=True, kw_only=True)
class Delay(_Delayed):
    """Any of `operations` takes longer."""

    type: ClassVar[str] = "delay"
    operations: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Bandwidth(Fault):
    """Reads and writes (or one of them, in `operations`) share a line of `bytes_per_sec`."""

    type: ClassVar[str] = "bandwidth"
    bytes_per_sec: int
    operations: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True)
class DiskFull(Fault):
    """ENOSPC once the files have grown by `bytes`; statfs(2) agrees."""

    type: ClassVar[str] = "disk_full"
    bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class TornWrite(Fault):
    """Of each write(2) only some units of `unit` bytes survive: first, last, random, none."""

    type: ClassVar[str] = "torn_write"
    unit: int = 512
    survive: str = "first"


@dataclass(frozen=True, kw_only=True)
class BitFlip(Fault):
    """In `fraction` of the blocks `bits` bits are flipped, the same ones on every read."""

    type: ClassVar[str] = "bit_flip"
    block_size: int = 4096
    bits: int = 1


@dataclass(frozen=True, kw_only=True)
class FsyncOnce(Fault):
    """fsync(2) fails once for each file and succeeds from then on, as after a write-back error."""

    type: ClassVar[str] = "fsync_once"
    code: int | str = "EIO"


@dataclass(frozen=True, kw_only=True)
class LoseUnsynced(Fault):
    """Keeps the undoing of all that is not synced from now on, until it is told to lose it.

    fraction: of the files that lose theirs; max_bytes: how much undoing is kept; at_boottime_ms: when
    to lose it, if not by `then` of another fault or by `Mount.lose_unsynced`.
    """

    type: ClassVar[str] = "lose_unsynced"
    max_bytes: int | None = None
    at_boottime_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class Crash(Fault):
    """Nothing by itself at any of `operations`: only what `then` says."""

    type: ClassVar[str] = "crash"
    operations: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Unknown(Fault):
    """A fault of another version, kept as it is."""

    json: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return self.json


_TYPES: dict[str, type[Fault]] = {
    kind.type: kind
    for kind in (
        Unreadable,
        Unwritable,
        ReadDelay,
        WriteDelay,
        ReadCorrupt,
        WriteCorrupt,
        Error,
        Delay,
        Bandwidth,
        DiskFull,
        TornWrite,
        BitFlip,
        FsyncOnce,
        LoseUnsynced,
        Crash,
    )
}


def reference() -> str:
    """Every type with its fields, those that may be left out in brackets, and what it does."""
    common = [field.name for field in fields(Fault)]
    lines = []
    for name, kind in _TYPES.items():
        own = [field for field in fields(kind) if field.name not in common]
        needed = [_wire_name(field.name) for field in own if field.default is MISSING]
        others = [f"[{_wire_name(field.name)}]" for field in own if field.default is not MISSING]
        lines += [" ".join([name, *needed, *others]), f"    {(kind.__doc__ or '').splitlines()[0]}"]
    of_all = " ".join(f"[{_wire_name(name)}]" for name in common)
    return "\n".join([*lines, "each of them:", *(f"    {line}" for line in wrap(of_all, 76))])


def _wire_name(name: str) -> str:
    return name if name in _AS_UPSTREAM else re.sub(r"_(.)", lambda match: match[1].upper(), name)


def _python_name(name: str) -> str:
    return name if name in _AS_UPSTREAM else re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), name)
