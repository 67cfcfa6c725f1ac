"""Killed processes, started again when the last claim has gone.

Standard library only: the warden loads it. The way back is a recipe in the journal (``restart.py``), made from the
process while it lives; it is made anew right before the process is killed.
"""

import json
import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from subprocess import Popen
from typing import Any, ClassVar

from trogdor.claim.model import CannotInject, Claim, Json, Trouble
from trogdor.claim.place import Place
from trogdor.claim.resource import Resource
from trogdor.platform.linux import processes, restart
from trogdor.platform.linux.processes import Process

RUNNING, KILLED = "running", "killed"

_GONE = Trouble("gone", "the process was gone before it was killed")


def key_of(process: str, signal_name: str = "KILL", restarted: str = "same", command: Sequence[str] = ()) -> str:
    """The key of a process (``pid@start``): how it is killed, and what starts it again, belong to it."""
    how = {"process": process, "signal": signal_name, "restart": restarted, "command": list(command)}
    return json.dumps(how, separators=(",", ":"))


class Kill(Resource):
    """Processes by ``key_of``. A value is ``running``, the process itself or what replaces it, or ``killed``."""

    kind: ClassVar[str] = "kill"
    undone_by: ClassVar[str] = (
        "the warden, or else the next agent, starts every process again that was killed, from the recipe in the journal"
    )
    scope: ClassVar[str] = "pid"

    def __init__(self, place: Place, node: str) -> None:
        super().__init__(place, node)
        self._pidfds: dict[str, int] = {}
        self._killed: set[str] = set()
        self._launchers: list[Popen[Any]] = []

    def base(self, key: str) -> Json:
        """None: it is gone. Else the recipe, who is like it beside it, and why it could not be had again."""
        how = json.loads(key)
        process = processes.of_key(how["process"])
        if process is None:
            return None
        if how["restart"] == "none":
            return {"start": None, "others": [], "problems": []}
        try:
            recipe = restart.recipe_of(process, self.place)
            why = restart.problems(process, recipe, self.place)
        except OSError as error:
            return {"start": None, "others": [], "problems": [f"{process.words}: {error}"]}
        others = [each.key for each in restart.alike(recipe, self.place) if each.key != process.key]
        if how["command"]:
            recipe, why = restart.recipe_of_command(how["command"]), []
        return {"start": recipe, "others": others, "problems": why}

    def prepare(self, claims: Sequence[Claim]) -> None:
        for key in {claim.key for claim in claims}:
            base = self.base(key)
            if base is not None and base["problems"]:
                raise CannotInject("; ".join(base["problems"]))
            try:
                self._open(key)
            except ProcessLookupError:
                continue
            except OSError as error:
                raise CannotInject(f"process {json.loads(key)['process']}: {error.strerror}") from None

    def _open(self, key: str) -> int:
        """The process's pidfd. Raises ProcessLookupError when it is gone, or its pid another's."""
        if key not in self._pidfds:
            process = json.loads(key)["process"]
            pidfd = os.pidfd_open(int(process.partition("@")[0]))
            if processes.of_key(process) is None:
                os.close(pidfd)
                raise ProcessLookupError(f"process {process} is gone")
            self._pidfds[key] = pidfd
        return self._pidfds[key]

    def discard(self, claims: Sequence[Claim]) -> None:
        for key in {claim.key for claim in claims} - self._killed:
            if key in self._pidfds:
                os.close(self._pidfds.pop(key))

    def apply(self, claims: Sequence[Claim], bases: Mapping[str, Json], now_ns: int) -> Mapping[str, Trouble]:
        claimed = {claim.key for claim in claims}
        self._launchers = [each for each in self._launchers if each.poll() is None]
        troubles = {}
        for key, base in bases.items():
            try:
                trouble = self._kill(key, base) if key in claimed else self._start_again(key, base)
            except OSError as error:
                trouble = Trouble("failed", error.strerror or str(error))
            if trouble is not None:
                troubles[key] = trouble
        return troubles

    def _kill(self, key: str, base: Json) -> Trouble | None:
        if key in self._killed:
            return None
        if base is None:
            return _GONE
        if base["problems"]:
            return Trouble("failed", "; ".join(base["problems"]))
        try:
            signal.pidfd_send_signal(self._open(key), signal.Signals[f"SIG{json.loads(key)['signal']}"])
        except ProcessLookupError:
            return _GONE
        self._killed.add(key)
        return None

    def _start_again(self, key: str, base: Json) -> Trouble | None:
        how = json.loads(key)
        was_killed = key in self._killed
        self._killed.discard(key)
        if base is None:
            return _GONE
        if base["start"] is None:
            return None
        process = how["process"]
        if processes.of_key(process) is not None:
            if how["signal"] == "KILL" and not was_killed:  # who died before it could kill leaves a process that runs
                return None
            self._end(key)
        if restart.started_for(process, self.place) is not None:
            return None
        if (other := self._started_by_others(process, base)) is not None:
            return Trouble("changed", f"{other.words} was started by somebody else meanwhile")
        self._launchers.append(restart.launch(process, base["start"], self.place))
        return None

    def _end(self, key: str) -> None:
        """One that is still busy ending is not waited for any longer."""
        try:
            signal.pidfd_send_signal(self._open(key), signal.SIGKILL)
        except ProcessLookupError:
            return

    def _started_by_others(self, process: str, base: Json) -> Process | None:
        """One like it that was not there before, that we did not start for yet another, and that is no mere fork."""
        if "program" not in base["start"]:
            return None
        known = {process, *base["others"]}
        found = restart.alike(base["start"], self.place)
        pids = {each.pid for each in found}
        new = (each for each in found if each.key not in known and each.parent not in pids)
        return next((each for each in new if not restart.mark_of(each)), None)

    @staticmethod
    def fold(base: Json, wants: Sequence[Json]) -> Json:
        return KILLED if wants else base

    def observe(self, key: str) -> Json:
        process = json.loads(key)["process"]
        if processes.of_key(process) is not None or restart.started_for(process, self.place) is not None:
            return RUNNING
        return KILLED

    def commands(self, key: str, base: Json) -> Sequence[str]:
        if not base or not base["start"]:
            return ()
        recipe = base["start"]
        words = shlex.join(["env", "-i", *recipe["environment"], *recipe["arguments"]])
        return (f"cd {shlex.quote(recipe['directory'])} && setsid {words} </dev/null >/dev/null 2>&1 &",)

    def close(self) -> None:
        for pidfd in self._pidfds.values():
            os.close(pidfd)
        self._pidfds.clear()
