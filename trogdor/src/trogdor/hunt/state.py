"""A hunt on disk: what is hunted, each run's outcome, the schedules found. A hunt that was interrupted goes on."""

import hashlib
import json
import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trogdor.hunt.run import Outcome
from trogdor.spec.schedule import FixedScheduleSpec

VERSION = 1
HUNTED, RUNS, FAILING, SMALLEST = "hunt.json", "runs.jsonl", "failing.json", "smallest.json"


class HuntError(Exception):
    """A hunt that cannot go on; says why and what to do."""


class State:
    """The directory of one hunt. Outcomes recorded before are answers already: the hunt takes the same way again."""

    def __init__(self, directory: Path, hunted: Mapping[str, Any]) -> None:
        """Raises HuntError when the directory holds another hunt."""
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        wanted = {"version": VERSION, **hunted}
        path = directory / HUNTED
        if path.exists():
            self._require_same(path, wanted)
        else:
            _write(path, wanted)
        self._recorded: dict[str, deque[Outcome]] = {}
        self.taken_up = 0
        """How many outcomes were found on disk."""
        self._load()
        self._runs = (directory / RUNS).open("a")

    def _require_same(self, path: Path, wanted: Mapping[str, Any]) -> None:
        try:
            found = json.loads(path.read_text())
        except ValueError:
            raise HuntError(f"{path} is damaged: remove {self.directory} to begin anew") from None
        different = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
        if different:
            raise HuntError(
                f"{self.directory} is of another hunt ({', '.join(different)} differ): "
                "give another --state, or remove it to begin anew"
            )

    def _load(self) -> None:
        path = self.directory / RUNS
        if not path.exists():
            return
        whole, _, torn = path.read_bytes().rpartition(b"\n")
        for line in whole.splitlines():
            run = json.loads(line)
            self._recorded.setdefault(run["schedule"], deque()).append(Outcome(run["result"], run["why"], run["task"]))
            self.taken_up += 1
        if torn:
            os.truncate(path, len(whole) + 1 if whole else 0)

    def recorded(self, schedule: FixedScheduleSpec) -> Outcome | None:
        """The next outcome on disk of a run of this schedule; each is given once."""
        waiting = self._recorded.get(key_of(schedule))
        return waiting.popleft() if waiting else None

    def record(self, schedule: FixedScheduleSpec, outcome: Outcome) -> None:
        """Keeps an outcome; on disk when this returns."""
        run = {"schedule": key_of(schedule), "tasks": len(schedule.tasks), "seed": schedule.seed,
               "result": outcome.result, "why": outcome.why, "task": outcome.task_id}  # fmt: skip
        self._runs.write(json.dumps(run) + "\n")
        self._runs.flush()
        os.fsync(self._runs.fileno())

    def keep(self, name: str, schedule: FixedScheduleSpec) -> Path:
        """Writes a schedule found, as a spec that ``trogdor replay`` takes."""
        path = self.directory / name
        _write(path, schedule.to_json())
        return path


def key_of(schedule: FixedScheduleSpec) -> str:
    """The same for schedules with the same tasks."""
    tasks = json.dumps(schedule.to_json()["tasks"], sort_keys=True)
    return hashlib.sha256(tasks.encode()).hexdigest()[:32]


def _write(path: Path, document: Mapping[str, Any]) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(document, indent=1) + "\n")
    beside.replace(path)
