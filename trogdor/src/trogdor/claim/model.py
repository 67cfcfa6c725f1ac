"""Claims: what a worker wants of a node's resources, from when to when. Standard library only: the warden loads it."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Any
"""A JSON value. Claims and observed values are plain JSON, so that any process can read them back from the journal."""


class CannotInject(Exception):
    """This node cannot carry the fault out; says what is missing and where to get it. Nothing was left behind."""


def why(error: Exception) -> str:
    """An error in words for whoever reads a status or a log; one that nobody expected with its type."""
    return str(error) if isinstance(error, OSError | CannotInject) else repr(error)


class Net(enum.StrEnum):
    """What undoes a fault whose agent died or hangs. Each kind of resource declares which of them cover it."""

    KERNEL = "kernel"
    """The kernel itself: an element that times out, a table owned by a socket, an expiry inside Kibosh."""

    WARDEN = "warden"
    """The small process beside the agent, which reconciles the journal down to nothing."""

    REPLAY = "replay"
    """The next agent, before it answers its first request."""


@dataclass(frozen=True, slots=True)
class Term:
    """For whom and from when to when: instants in ns of the node's CLOCK_BOOTTIME."""

    task_id: str
    worker_id: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing wanted of one resource.

    ``kind`` names the resource's kind (``nft``, ``process``), ``key`` the thing itself within its kind
    (``17@4711``), ``want`` what is wanted of it, in the kind's own JSON. ``id`` is the same whenever the same thing is
    planned for the same worker, so that planning again during a fault adds only what is new.
    """

    id: str
    kind: str
    key: str
    want: Json
    term: Term

    def in_force(self, now_ns: int) -> bool:
        """Whether the node should be under this claim at ``now_ns``: start included, end not."""
        return self.term.start_ns <= now_ns < self.term.end_ns

    def to_json(self) -> dict[str, Json]:
        """As the journal keeps it."""
        term = self.term
        when = {"task_id": term.task_id, "worker_id": term.worker_id, "start_ns": term.start_ns, "end_ns": term.end_ns}
        return {"id": self.id, "kind": self.kind, "key": self.key, "want": self.want, "term": when}

    @classmethod
    def from_json(cls, value: dict[str, Json]) -> "Claim":
        """Reads back what ``to_json`` wrote. Raises KeyError or TypeError for anything else."""
        return cls(**{**value, "term": Term(**value["term"])})


TROUBLES = ("gone", "changed", "failed")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a resource is not what its claims add up to.

    ``gone``: it does not exist any more, and the fault with it. ``changed``: somebody else has changed it since; it
    was left as it is. ``failed``: it could not be set.
    """

    what: str
    text: str


@dataclass(frozen=True, slots=True)
class Fired:
    """What came of firing: when the node had it (ns of CLOCK_BOOTTIME), and claim id → why it has not."""

    at_ns: int
    troubles: Mapping[str, Trouble] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Undone:
    """What came of undoing claims, as the journal records it.

    ``by`` is ``end``, ``stop``, ``kernel``, ``warden``, ``replay`` or ``gone``. ``left_alone`` says what somebody else
    had changed meanwhile. ``failed`` says what could not be undone: those claims stay in the journal, for the warden
    and for replay.
    """

    at_ns: int
    by: str
    left_alone: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
