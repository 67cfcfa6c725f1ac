"""Whole trees of processes stopped in one step: a control group (version 2) frozen by ``cgroup.freeze``.

Standard library only: the warden loads it.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from trogdor.claim.model import CannotInject, Claim, Json, Trouble
from trogdor.claim.place import Place
from trogdor.claim.resource import Resource

FROZEN, RUNNING = "frozen", "running"
FREEZE = "cgroup.freeze"

_GONE = Trouble("gone", "the control group is gone")
_THAWED = Trouble("changed", "somebody thawed it already")


def group_of(pids: Collection[int]) -> str:
    """The key of the group that holds these processes and no other; empty where there is none that can be frozen.

    What is in groups below it counts. The root is never meant.
    """
    try:
        root, top = _mount()
        common = os.path.commonpath([_path_of(pid) for pid in pids])
        directory = top / os.path.relpath(common, root)
        if common == root or not os.access(directory / FREEZE, os.W_OK) or _content(directory) != set(pids):
            return ""
        return f"{directory.resolve()}@{directory.stat().st_ino}"
    except (OSError, ValueError):
        return ""


def directory_of(key: str) -> str:
    """Where the group that a key names has its files."""
    return key.rpartition("@")[0]


def _mount() -> tuple[str, Path]:
    """What of the hierarchy is mounted, and where. Raises ValueError where there is none."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            return fields[3], Path(fields[4])
    raise ValueError("no cgroup2 is mounted")


def _path_of(pid: int) -> str:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line[3:]
    raise ValueError(f"process {pid} is in no group")


def _content(directory: Path) -> set[int]:
    found = set()
    for path, _, _ in os.walk(directory):
        found |= {int(pid) for pid in Path(path, "cgroup.procs").read_text().split()}
    return found


class Freezer(Resource):
    """Control groups by ``directory@inode``. A value is ``frozen``, ``running`` or None, when the group is gone."""

    kind = "freezer"
    undone_by = "the warden, or else the next agent, thaws every control group that ran before"

    def __init__(self, place: Place, node: str) -> None:
        super().__init__(place, node)
        self._frozen: set[str] = set()
        """What this process froze."""

    def base(self, key: str) -> Json:
        return self.observe(key)

    def prepare(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            path = os.path.join(directory_of(claim.key), FREEZE)
            if self.observe(claim.key) is not None and not os.access(path, os.W_OK):
                raise CannotInject(f"{path} cannot be written")

    def apply(self, claims: Sequence[Claim], bases: Mapping[str, Json], now_ns: int) -> Mapping[str, Trouble]:
        claimed = {claim.key for claim in claims}
        troubles = {}
        for key, base in bases.items():
            try:
                trouble = self._set(key, base, key in claimed)
            except OSError as error:
                trouble = _GONE if self.observe(key) is None else Trouble("failed", error.strerror or str(error))
            if trouble is not None:
                troubles[key] = trouble
        return troubles

    def _set(self, key: str, base: Json, freeze: bool) -> Trouble | None:
        """One that was frozen before stays so."""
        now, held = self.observe(key), key in self._frozen
        if base is None or now is None:
            return _GONE
        if base == FROZEN or (freeze and held):
            return None
        self._frozen = self._frozen | {key} if freeze else self._frozen - {key}
        if not freeze and held and now == RUNNING:
            return _THAWED
        Path(directory_of(key), FREEZE).write_text("1" if freeze else "0")
        return None

    @staticmethod
    def fold(base: Json, wants: Sequence[Json]) -> Json:
        return FROZEN if wants and base is not None else base

    def observe(self, key: str) -> Json:
        directory, _, inode = key.rpartition("@")
        try:
            if os.stat(directory).st_ino != int(inode):
                return None
            return FROZEN if Path(directory, FREEZE).read_text().strip() == "1" else RUNNING
        except OSError:
            return None

    def lost(self, claims: Sequence[Claim]) -> Mapping[str, Trouble]:
        seen = {claim.id: self.observe(claim.key) for claim in claims}
        reasons = {None: _GONE, RUNNING: _THAWED}
        return {id_: reasons[state] for id_, state in seen.items() if state in reasons}

    def commands(self, key: str, base: Json) -> Sequence[str]:
        return (f"echo 0 > {directory_of(key)}/{FREEZE}",) if base == RUNNING else ()
