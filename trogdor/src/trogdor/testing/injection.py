"""One fault around a block of code: the block begins when the fault is seen, and what follows it when it is gone."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from trogdor.client import Client, ClientError, Lease, Refused, Task
from trogdor.wire.status import FaultStatus, read_statuses

LONGEST_MS = 600_000
"""A fault without a duration ends when its block does; its lease ends it when the test process dies before."""

TAKES_WITHIN_S = 30.0
HEALS_WITHIN_S = 30.0
POLL_S = 0.02

ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class FaultDidNotTake(AssertionError):
    """The fault was asked for and was not seen: nothing that the test finds out would mean anything."""


class FaultRemained(AssertionError):
    """The fault was to end and was not seen to: tests that follow would run under it."""


@dataclass(frozen=True)
class Sighting:
    """When something was seen on the last of the nodes, in ms of the coordinator's clock, and how late that was."""

    at_ms: float
    late_ms: float


class Injection:
    """A fault as a context manager, ``with`` or ``async with``.

    Entered when independent probes have seen the fault on every node, else FaultDidNotTake; left when they have seen
    it gone, else FaultRemained. An exception of the block is never hidden: what is wrong with the fault is added to it
    as a note.
    """

    def __init__(
        self,
        client: Client,
        spec: Mapping[str, Any],
        *,
        name: str = "fault",
        unverified: bool = False,
        on_change: Callable[["Injection"], None] = lambda injection: None,
    ) -> None:
        self.spec = {"durationMs": LONGEST_MS, **spec, "startMs": spec.get("startMs", 0)}
        self.task_id = f"{name}-{secrets.token_hex(4)}"
        self.nodes: list[str] = []
        self.statuses: dict[str, FaultStatus] = {}
        self.error = ""
        self.seen: Sighting | None = None
        self.healed: Sighting | None = None
        self.entered = False
        self._client = client
        self._unverified = unverified
        self._on_change = on_change
        self._lease: Lease | None = None

    def __str__(self) -> str:
        name = str(self.spec.get("class", "fault")).rpartition(".")[2]
        return f"{name} on {' '.join(self.nodes) or 'no node'}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(error)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._leave, error)

    def _leave(self, error: BaseException | None) -> None:
        try:
            self.stop()
        except (FaultRemained, ClientError) as remained:
            if error is None:
                raise
            error.add_note(str(remained))

    def start(self) -> None:
        """Creates the task and waits until the fault is seen. Raises FaultDidNotTake, also when it was refused."""
        self.entered = True
        self._lease = self._client.lease()
        self._lease.__enter__()
        try:
            self.nodes = self._client.check(self.task_id, self.spec)["nodes"]
            self._client.create_task(self.task_id, self.spec, self._lease)
            self._wait(self._is_decided, TAKES_WITHIN_S, FaultDidNotTake)
            self._require_taken()
        except BaseException as error:
            with contextlib.suppress(ClientError, FaultRemained):
                self.stop()
            if isinstance(error, Refused):
                raise FaultDidNotTake(self._say("was refused", [str(error)])) from None
            raise
        starts = [status.seen_start_ms for status in self.statuses.values() if status.seen_start_ms is not None]
        asked = [status.asked_start_ms for status in self.statuses.values() if status.asked_start_ms is not None]
        if starts and asked:
            self.seen = Sighting(max(starts), max(starts) - max(asked))
        self._on_change(self)

    def _require_taken(self) -> None:
        accepted = {"seen", "unverified"} if self._unverified else {"seen"}
        missed = [f"{node}: {each.verdict}" for node, each in self.statuses.items() if each.outcome not in accepted]
        if self.error or missed or not self.statuses:
            raise FaultDidNotTake(
                self._say("did not take", [*missed, self.error or "no node has a status"][: len(missed) or 1])
            )

    def stop(self) -> None:
        """Ends the fault and waits until it is seen gone. Raises FaultRemained. A second call does nothing."""
        if self._lease is None:
            return
        lease, self._lease = self._lease, None
        try:
            asked_ms = self._coordinator_ms()
            self._client.stop_task(self.task_id)
            self._wait(lambda task: task["state"] == "DONE", HEALS_WITHIN_S, FaultRemained)
        finally:
            lease.__exit__(None, None, None)
        self._require_healed(asked_ms)
        self._on_change(self)

    def _require_healed(self, asked_ms: float) -> None:
        held = {node: status for node, status in self.statuses.items() if status.seen_start_ms is not None}
        remains = [
            f"{node}: not seen to end ({status.verdict})"
            for node, status in held.items()
            if status.seen_end_ms is None and status.undone_by != "gone"
        ]
        if remains:
            raise FaultRemained(self._say("remained", [*remains, self.error][: len(remains) + bool(self.error)]))
        ends = [status.seen_end_ms for status in held.values() if status.seen_end_ms is not None]
        if ends:
            planned = min(self._planned_end_ms(), asked_ms)
            self.healed = Sighting(max(ends), max(0.0, max(ends) - planned))

    def _planned_end_ms(self) -> float:
        return min(
            (each.asked_end_ms for each in self.statuses.values() if each.asked_end_ms is not None), default=2.0**53
        )

    def _coordinator_ms(self) -> float:
        return float(self._client.uptime()["nowMs"])

    def _is_decided(self, task: Task) -> bool:
        if task["state"] == "DONE":
            return True
        return self.statuses.keys() >= set(self.nodes) and all(
            status.outcome != "armed" for status in self.statuses.values()
        )

    def _wait(self, until: Callable[[Task], bool], deadline_s: float, missed: type[AssertionError]) -> None:
        end = time.monotonic() + deadline_s
        while True:
            task = self._client.task(self.task_id)
            self.statuses = read_statuses(task.get("status"), self.nodes)
            self.error = task.get("error") or ""
            if until(task):
                return
            if time.monotonic() > end:
                lines = [f"{node}: {status.verdict}" for node, status in self.statuses.items()]
                raise missed(self._say(f"is still {task['state']} after {deadline_s:g} s", lines))
            time.sleep(POLL_S)

    def _say(self, what: str, lines: list[str]) -> str:
        return "\n  ".join([f"{self} {what} (task {self.task_id})", *lines])
