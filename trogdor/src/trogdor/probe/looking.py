"""Watching by looking again and again: at processes, at files, at what this node says of them."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Generic, Protocol, TypeVar

from trogdor.instant import NS_PER_MS, NS_PER_S, Clock
from trogdor.probe.sight import SEEN, Sight, not_seen, summed_up, unverified

A_LOOK_S = 0.5
"""A fault is not armed before a look at how things are, unless it takes longer than this."""
LOOK_S = 0.004
LOOK_AGAIN_S = 0.25
LATEST_NS = 200 * NS_PER_MS
GONE_NS = NS_PER_S

Answer = TypeVar("Answer")


class How(Enum):
    """How a thing is found to be."""

    HELD = auto()
    """As the fault should hold it."""
    FREE = auto()
    """Otherwise."""
    VANISHED = auto()
    """There is nothing to look at any more."""
    UNKNOWN = auto()
    """Nobody can tell."""


@dataclass(frozen=True, slots=True)
class Look:
    """``words``: how it is where the fault does not hold it, or why nobody can tell."""

    how: How
    words: str = ""


HELD = Look(How.HELD)


class Eye(Protocol):
    """Looks at one thing."""

    was_held: bool
    """Whether it was so already before the fault, and so may stay after it."""
    still: str
    """What is to be said of one that stays as the fault has made it, such as ``etcd (pid 7) is still stopped``."""

    async def based(self) -> None:
        """Returns once it knows how things are before the fault."""

    async def look(self) -> Look:
        """Looks once."""

    def close(self) -> None:
        """Looks no more."""


class LookingWatch:
    """Watches what one fault holds, with an eye for each thing. See Watch."""

    def __init__(self, eyes: Sequence[tuple[Eye, Callable[[], bool]]], clock: Clock, end_ns: int) -> None:
        """``eyes``: each with whether another fault holds the same thing now."""
        self._eyes = eyes
        self._clock = clock
        self._end_ns = end_ns

    async def based(self, within_s: float) -> None:
        """See Watch."""
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(eye.based() for eye, _ in self._eyes)), max(within_s, A_LOOK_S))

    async def seen(self, fired_ns: int) -> Sight:
        """See Watch."""
        return summed_up(await asyncio.gather(*(self._seen(eye, fired_ns) for eye, _ in self._eyes)))

    async def _seen(self, eye: Eye, fired_ns: int) -> Sight:
        while True:
            before_ns = self._clock.boot_ns()
            look = await eye.look()
            if look.how is How.HELD:
                return Sight(SEEN, max(fired_ns, before_ns))
            if look.how is not How.FREE:
                return unverified(look.words)
            if before_ns > fired_ns + LATEST_NS:
                return not_seen(look.words)
            await asyncio.sleep(LOOK_S)

    def looked_back(self, fired_ns: int, undone_ns: int) -> Sight:
        """See Watch."""
        return unverified("too short to be seen")

    async def broken(self) -> str:
        """See Watch."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            for eye, _ in self._eyes:
                look = await eye.look()
                if look.how is How.FREE and self._clock.boot_ns() < self._end_ns:
                    return look.words

    async def gone(self, undone_ns: int) -> Sight:
        """See Watch."""
        return summed_up(await asyncio.gather(*(self._gone(*each, undone_ns) for each in self._eyes)))

    async def _gone(self, eye: Eye, is_held_by_another: Callable[[], bool], undone_ns: int) -> Sight:
        deadline_ns = self._clock.boot_ns() + GONE_NS
        while True:
            if eye.was_held or is_held_by_another():
                return Sight(SEEN, undone_ns)
            before_ns = self._clock.boot_ns()
            look = await eye.look()
            if look.how is How.UNKNOWN:
                return unverified(look.words)
            if look.how is not How.HELD:
                return Sight(SEEN, max(undone_ns, before_ns))
            if before_ns > deadline_ns:
                return unverified(f"{eye.still} a second after the end")
            await asyncio.sleep(LOOK_S)

    def close(self) -> None:
        """See Watch."""
        for eye, _ in self._eyes:
            eye.close()


class Asker(Generic[Answer]):
    """Makes calls that may take as long as a fault lasts, one at a time, on threads that keep nobody waiting."""

    def __init__(self) -> None:
        self._asked: asyncio.Future[Answer] | None = None

    async def ask(self, call: Callable[[], Answer], within_s: float) -> Answer:
        """What ``call`` answers, or the one before that had no answer in time. Raises TimeoutError and its errors."""
        asked = self._asked or on_a_thread(call)
        self._asked = asked
        await asyncio.wait([asked], timeout=within_s)
        if not asked.done():
            raise TimeoutError
        self._asked = None
        return asked.result()


def on_a_thread(call: Callable[[], Answer]) -> "asyncio.Future[Answer]":
    """What ``call`` answers, on a daemon thread of its own."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[Answer] = loop.create_future()
    answered.add_done_callback(
        lambda future: future.cancelled() or future.exception()
    )  # it may concern nobody any more

    def run() -> None:
        try:
            settle = partial(answered.set_result, call())
        except Exception as error:
            settle = partial(answered.set_exception, error)
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle)

    threading.Thread(target=run, name="looking", daemon=True).start()
    return answered
