"""Undoing a whole journal: what replay, the warden and ``heal`` do with what an agent left behind."""

import importlib
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from trogdor.claim.books import Books, discarded_record, undone_record
from trogdor.claim.journal import Journal, Record
from trogdor.claim.model import TROUBLES, Json, Trouble, Undone, why
from trogdor.claim.place import Place
from trogdor.claim.points import reached
from trogdor.claim.resource import Resource


def boot_ns() -> int:
    """Now, in ns of CLOCK_BOOTTIME."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """This boot of this machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True)
class Site:
    """Where claims are made: a node's name and place, its journal's directory, its kinds of resources, its clock."""

    directory: Path
    node: str
    kinds: Mapping[str, str]
    """Kind of claim → ``module:Class`` of its resource."""
    place: Place
    clock: Callable[[], int]
    """Now, in ns of CLOCK_BOOTTIME."""

    def resource(self, kind: str) -> Resource:
        """The resource of a kind, its module imported now. Raises KeyError for a kind that no platform names."""
        module, _, name = self.kinds[kind].partition(":")
        resource: Resource = getattr(importlib.import_module(module), name)(self.place, self.node)
        return resource


def settle(journal: Journal, site: Site, *, by: str, opening: Record | None = None) -> tuple[Books, list[str]]:
    """Reconciles what the journal holds down to nothing and records it durably. The caller holds the journal's lock.

    ``by``: ``replay``, ``warden`` or ``heal``. ``opening``: the record of the journal's new opening, if it is one.
    Answers what the journal holds then, claims whose resource could not be put back, and in words what is left on the
    node and why.
    """
    books, left = Books(journal.records), []
    for kind in books.kinds():
        reached(f"{by}:undo.before")
        undone, failed = _undo(kind, books, site, by)
        reached(f"{by}:undo.applied")
        left += [f"{kind} {text}" for text in undone.failed]
        left += [
            f"{kind} {key}: what it was before was lost with a part of the journal" for key in books.baseless(kind)
        ]
        books.take(undone_record([claim.id for claim in books.of_kind(kind) if claim.key not in failed], undone))
        books.take(discarded_record(claim for claim in books.left_standing(kind) if claim.key not in failed))
    if opening is not None:
        books.take(opening)
    reached(f"{by}:undone.before")
    journal.start(books.records())
    reached(f"{by}:undone.synced")
    return books, left


def _undo(kind: str, books: Books, site: Site, by: str) -> tuple[Undone, set[str]]:
    """What came of it, and the keys that could not be put back. Never raises: the other kinds are to be undone too."""
    bases = books.touched(kind)
    claims = [*books.of_kind(kind), *books.left_standing(kind)]
    try:
        with closing(site.resource(kind)) as resource:
            if books.opened.get("boot") != boot_id() and not resource.outlives_boot:
                return Undone(site.clock(), "gone", ("the machine was rebooted",)), set()
            if resource.scope and books.opened.get(resource.scope) != getattr(site.place, resource.scope):
                return Undone(site.clock(), "gone", (f"the node's {resource.scope} namespace is gone",)), set()
            troubles = resource.apply((), bases, site.clock())
            resource.discard(claims)
            return summed_up(troubles, bases, by, site.clock())
    except Exception as error:
        keys = {claim.key for claim in claims}
        return Undone(site.clock(), by, failed=tuple(f"{key}: {why(error)}" for key in sorted(keys))), keys


def put_back(site: Site, kind: str, bases: Mapping[str, Json], by: str) -> list[str]:
    """Puts things back that no journal knows of; answers what could not be."""
    if not bases:
        return []
    resource = site.resource(kind)
    try:
        undone, _ = summed_up(resource.apply((), bases, site.clock()), bases, by, site.clock())
        resource.discard(())
        return [*undone.failed, *undone.left_alone]
    except Exception as error:
        return [f"{kind}: {why(error)}"]
    finally:
        resource.close()


def summed_up(troubles: Mapping[str, Trouble], keys: Collection[str], by: str, at_ns: int) -> tuple[Undone, set[str]]:
    """What came of an undoing, and the keys that could not be put back."""
    said = {what: tuple(f"{key}: {it.text}" for key, it in troubles.items() if it.what == what) for what in TROUBLES}
    all_gone = bool(keys) and len(said["gone"]) == len(keys)
    undone = Undone(at_ns, "gone" if all_gone else by, said["changed"], said["failed"])
    return undone, {key for key, trouble in troubles.items() if trouble.what == "failed"}
