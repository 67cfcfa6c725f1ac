"""Stopped processes: SIGSTOP and SIGCONT through pidfds, so that a pid that is used again is never hit.

Standard library only: the warden loads it.
"""

import os
import signal
from collections.abc import Mapping, Sequence

from trogdor.claim.model import CannotInject, Claim, Json, Trouble
from trogdor.claim.place import Place
from trogdor.claim.resource import Resource
from trogdor.platform.linux import processes

STOPPED, RUNNING = "stopped", "running"
SETTLED_NS = 200_000_000
"""A process signalled longer ago than this has had the time to stop."""

_GONE = Trouble("gone", "the process is gone")


class Stop(Resource):
    """Processes by ``pid@start``. A value is ``stopped``, ``running`` or None, when the process is gone."""

    kind = "process"
    undone_by = "the warden, or else the next agent, sends SIGCONT to every process that ran before"
    scope = "pid"

    def __init__(self, place: Place, node: str) -> None:
        super().__init__(place, node)
        self._pidfds: dict[str, int] = {}
        self._stopped_ns: dict[str, int] = {}
        """Key → when we sent SIGSTOP."""

    def base(self, key: str) -> Json:
        return self.observe(key)

    def prepare(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            try:
                self._open(claim.key)
            except ProcessLookupError:
                continue
            except OSError as error:
                raise CannotInject(f"process {claim.key}: {error.strerror}") from None

    def _open(self, key: str) -> int:
        """The process's pidfd. Raises ProcessLookupError when it is gone, or its pid another's."""
        if key not in self._pidfds:
            pidfd = os.pidfd_open(int(key.partition("@")[0]))
            if processes.of_key(key) is None:
                os.close(pidfd)
                raise ProcessLookupError(f"process {key} is gone")
            self._pidfds[key] = pidfd
        return self._pidfds[key]

    def discard(self, claims: Sequence[Claim]) -> None:
        for key in {claim.key for claim in claims} - self._stopped_ns.keys():
            if key in self._pidfds:
                os.close(self._pidfds.pop(key))

    def apply(self, claims: Sequence[Claim], bases: Mapping[str, Json], now_ns: int) -> Mapping[str, Trouble]:
        claimed = {claim.key for claim in claims}
        troubles = {}
        for key, base in bases.items():
            try:
                trouble = self._stop(key, base, now_ns) if key in claimed else self._go_on(key, base, now_ns)
            except ProcessLookupError:
                trouble = _GONE
            except OSError as error:
                trouble = Trouble("failed", error.strerror or str(error))
            if trouble is not None:
                troubles[key] = trouble
        return troubles

    def _stop(self, key: str, base: Json, now_ns: int) -> Trouble | None:
        if base == RUNNING and key not in self._stopped_ns:
            signal.pidfd_send_signal(self._open(key), signal.SIGSTOP)
            self._stopped_ns[key] = now_ns
        return _GONE if base is None else None

    def _go_on(self, key: str, base: Json, now_ns: int) -> Trouble | None:
        """Also when it still seems to run: a SIGSTOP may be under way, and SIGCONT takes that back."""
        stopped_ns = self._stopped_ns.pop(key, None)
        if base != RUNNING:
            return _GONE if self.observe(key) is None else None
        pidfd = self._open(key)
        if self.observe(key) == RUNNING and stopped_ns is not None and now_ns - stopped_ns > SETTLED_NS:
            return Trouble("changed", "it was running again already")
        signal.pidfd_send_signal(pidfd, signal.SIGCONT)
        return _GONE if self.observe(key) is None else None

    @staticmethod
    def fold(base: Json, wants: Sequence[Json]) -> Json:
        return STOPPED if wants and base is not None else base

    def observe(self, key: str) -> Json:
        process = processes.of_key(key)
        return None if process is None else STOPPED if process.state == "T" else RUNNING

    def lost(self, claims: Sequence[Claim]) -> Mapping[str, Trouble]:
        seen = {claim.id: self.observe(claim.key) for claim in claims}
        reasons = {None: _GONE, RUNNING: Trouble("changed", "somebody let it go on")}
        return {id_: reasons[state] for id_, state in seen.items() if state in reasons}

    def commands(self, key: str, base: Json) -> Sequence[str]:
        return (f"kill -CONT {key.partition('@')[0]}",) if base == RUNNING else ()

    def close(self) -> None:
        for pidfd in self._pidfds.values():
            os.close(pidfd)
        self._pidfds.clear()
