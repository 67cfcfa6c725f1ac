"""What a worker does, in five steps; and the two simplest kinds."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

Json = Any


class Work(ABC):
    """One worker's share of a task. ``fire`` and ``release`` run on the firing thread, the rest on the event loop."""

    changed: Callable[[], None] = staticmethod(lambda: None)
    """To be called on the event loop whenever ``status`` is another."""

    @property
    @abstractmethod
    def status(self) -> Json:
        """The worker's status, as upstream has it or as ``wire.status``."""

    async def prepare(self) -> None:  # noqa: B027
        """Everything slow, ahead of the instant; the node notices nothing. Raises CannotInject or SpecError."""

    @abstractmethod
    def fire(self) -> None:
        """Begins, now. Fast; must not raise."""

    async def run(self) -> str:
        """While it lasts. Returns when it is over before its time: why that is an error, or an empty string."""
        await asyncio.Event().wait()
        return ""

    async def disarmed(self) -> None:  # noqa: B027
        """It was prepared, and will never be fired; ``release`` was called."""

    @abstractmethod
    def release(self, how: str) -> None:
        """Ends, now: ``end`` by its own time, ``stop`` before it; also when it never began. Fast; must not raise."""

    async def finish(self) -> str:
        """After the end: what remains to be seen to. Returns what is an error of the worker, or an empty string."""
        return ""


class NoOp(Work):
    """Does nothing, in upstream's words."""

    def __init__(self) -> None:
        self._status: str | None = None

    @property
    def status(self) -> Json:
        return self._status

    def fire(self) -> None:
        self._status = "active"

    def release(self, how: str) -> None:
        if self._status is not None:
            self._status = "done"


class Refused(Work):
    """Cannot be done here: ends before it began, with the reason."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    @property
    def status(self) -> Json:
        return None

    async def prepare(self) -> None:
        raise self._error

    def fire(self) -> None:
        """Never called."""

    def release(self, how: str) -> None:
        """There is nothing to end."""
