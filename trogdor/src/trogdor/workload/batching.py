"""When a producer flushes and when it begins and ends transactions, told in runs of messages rather than one by one."""

import enum
import random
import time
from collections.abc import Callable
from typing import Protocol

from trogdor.spec import generators as g


class Flushes:
    """Counts messages up to the next flush (ConstantFlushGenerator, GaussianFlushGenerator)."""

    def __init__(self, wanted: g.Flush, gauss: Callable[[float, float], float] = random.gauss) -> None:
        self._wanted, self._gauss = wanted, gauss
        self.until_flush = self._draw()

    def _draw(self) -> int:
        if isinstance(self._wanted, g.ConstantFlush):
            return max(self._wanted.messages_per_flush, 1)
        drawn = int(self._gauss(0, 1) * self._wanted.messages_per_flush_deviation)
        return max(drawn + self._wanted.messages_per_flush_average, 1)

    def sent(self, count: int) -> bool:
        """Counts ``count`` messages, at most ``until_flush``; whether it is time to flush."""
        self.until_flush -= count
        if self.until_flush > 0:
            return False
        self.until_flush = self._draw()
        return True


class Action(enum.Enum):
    """What to do before the next message."""

    BEGIN = "begin"
    COMMIT = "commit"
    SEND = "send"


class Transactions(Protocol):
    """Asked before each run of messages, and once more after the last, as upstream asks before each message."""

    def next_action(self) -> Action:
        """What to do now."""
        ...

    def sent(self, count: int) -> None:
        """Counts messages of the transaction under way."""
        ...

    @property
    def room(self) -> int:
        """How many messages may go before the next question."""
        ...


class UniformTransactions:
    """A commit after every so many messages (UniformTransactionsGenerator)."""

    def __init__(self, messages: int) -> None:
        if messages < 1:
            raise ValueError("Cannot have less than one message per transaction.")
        self._messages = messages
        self._sent = -1

    def next_action(self) -> Action:
        if self._sent == -1:
            self._sent = 0
            return Action.BEGIN
        if self._sent == self._messages:
            self._sent = -1
            return Action.COMMIT
        return Action.SEND

    def sent(self, count: int) -> None:
        self._sent += count

    @property
    def room(self) -> int:
        return self._messages - self._sent


class IntervalTransactions:
    """A commit once so much time has passed since the beginning (TimeIntervalTransactionsGenerator)."""

    RUN = 100
    """The most messages between two looks at the clock."""

    def __init__(self, interval_ms: int, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        if interval_ms < 1:
            raise ValueError("Cannot have a negative interval")
        self._interval_ns, self._clock_ns = interval_ms * 1_000_000, clock_ns
        self._began_ns = -1

    def next_action(self) -> Action:
        now_ns = self._clock_ns()
        if self._began_ns < 0:
            self._began_ns = now_ns
            return Action.BEGIN
        if now_ns - self._began_ns >= self._interval_ns:
            self._began_ns = -1
            return Action.COMMIT
        return Action.SEND

    def sent(self, count: int) -> None:
        pass

    @property
    def room(self) -> int:
        return self.RUN


def transactions(wanted: g.Transactions) -> Transactions:
    """The transactions that a generator describes. Raises ValueError in upstream's words."""
    if isinstance(wanted, g.UniformTransactions):
        return UniformTransactions(wanted.messages_per_transaction)
    return IntervalTransactions(wanted.transaction_interval_ms)
