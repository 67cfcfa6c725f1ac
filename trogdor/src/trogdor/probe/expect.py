"""What should be seen while faults hold: plain data that the probes compare with what they see.

This module knows neither claims nor resources: expectations are made from the spec beside the claims, so that a plan
that claims the wrong thing is found out.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LinkCut:
    """Packets from ``source`` do not arrive at ``target`` (node names, or addresses where an end is no node).

    ``protocol`` and ``ports`` as in a spec's Link; ``new_only``: established connections go on.
    """

    source: str
    target: str
    protocol: str = "any"
    ports: tuple[str, ...] = ()
    new_only: bool = False


@dataclass(frozen=True, slots=True)
class ProcessStopped:
    """The process does not run: its state in /proc is T, or it is in the frozen control group ``group``.

    ``started`` is field 22 of /proc/PID/stat, ``group`` a directory.
    """

    pid: int
    started: int
    group: str = ""


@dataclass(frozen=True, slots=True)
class ProcessGone:
    """The process is gone within ``within_ms`` of the instant; ``started`` as in ProcessStopped.

    ``again``: what is to run after the end, and not before: ``same``, one with its program and arguments; ``other``,
    one with its program; ``none``: nobody knows.
    """

    pid: int
    started: int
    within_ms: int
    again: str


@dataclass(frozen=True, slots=True)
class LinkSlow:
    """Packets from ``source`` arrive at ``target`` later than before, by ``delay_ms`` ± ``jitter_ms``.

    ``protocol`` as in a spec's Link; ``overtaking``: the share of them, 0 to 1, that is not held back.
    """

    source: str
    target: str
    delay_ms: float
    jitter_ms: float
    protocol: str = "any"
    overtaking: float = 0.0


@dataclass(frozen=True, slots=True)
class LinkReordered:
    """Packets from ``source`` arrive at ``target`` in another order than they left in.

    Each is held back by ``delay_ms`` ± ``jitter_ms``, but for the share ``overtaking`` of them, 0 to 1.
    """

    source: str
    target: str
    delay_ms: float
    jitter_ms: float
    overtaking: float


@dataclass(frozen=True, slots=True)
class LinkNarrow:
    """Packets from ``source`` arrive at ``target`` at no more than ``rate_kbit`` kbit/s."""

    source: str
    target: str
    rate_kbit: int


@dataclass(frozen=True, slots=True)
class LinkLossy:
    """Of the packets from ``source`` to ``target`` some do not arrive, or arrive twice; as chances, 0 to 1.

    ``lost``: of a packet that follows one that arrived, so that it is one draw however long the runs of losses are.
    ``protocol`` as in a spec's Link; ``held_ms``: so long may one that arrives be held back.
    """

    source: str
    target: str
    lost: float
    twice: float
    protocol: str = "any"
    held_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class ReadFails:
    """Reading the file's first byte fails with the errno ``code``."""

    path: str
    code: int


@dataclass(frozen=True, slots=True)
class CallFails:
    """A call on a file without a name in ``directory`` fails with the errno ``code``; ``call`` as in unnamed.CALLS."""

    directory: str
    call: str
    code: int


@dataclass(frozen=True, slots=True)
class CallSlow:
    """A call on a file without a name in ``directory`` takes ``delay_ms`` or longer; ``call`` as in unnamed.CALLS."""

    directory: str
    call: str
    delay_ms: float


@dataclass(frozen=True, slots=True)
class DataDamaged:
    """Of a file without a name in ``directory``, what is read is not what was written, ``size`` bytes at once."""

    directory: str
    size: int


@dataclass(frozen=True, slots=True)
class RoomLeft:
    """``directory`` has room for at most so many bytes, as statfs(2) says."""

    directory: str
    room: int


FileExpectation = CallFails | CallSlow | DataDamaged | ReadFails | RoomLeft
Expectation = (
    FileExpectation | LinkCut | LinkLossy | LinkNarrow | LinkReordered | LinkSlow | ProcessGone | ProcessStopped
)
