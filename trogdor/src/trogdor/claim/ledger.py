"""The ledger: the only door to a node's resources.

A claim's way: itself and its base on disk → its resource prepared → applied at its instant → undone → recorded. Each
step is one ``apply`` with other claims, and each can be the last one of this process: ``settle`` goes on from there.
"""

import contextlib
import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from trogdor.claim.books import Books, claims_record, discarded_record, undone_record
from trogdor.claim.journal import Journal, JournalLocked, JournalUnreadable, Lock, Record
from trogdor.claim.model import CannotInject, Claim, Fired, Json, Trouble, Undone, why
from trogdor.claim.place import Place
from trogdor.claim.points import reached
from trogdor.claim.resource import Resource
from trogdor.claim.settle import Site, boot_id, boot_ns, settle, summed_up

__all__ = ["JournalLocked", "JournalUnreadable", "Ledger", "Watcher", "boot_ns"]

log = logging.getLogger(__name__)

_ROOM_PER_CLAIM = 400
"""Bytes kept free for each live claim, so that recording its firing and its end never begins a new turn."""

LOCKED_S = 2.0
"""How long an opening ledger waits for the lock of its journal."""


class Watcher(Protocol):
    """The ledger's end of the warden (``trogdor.warden.Warden``)."""

    def watch(self, ledger: "Ledger") -> None:
        """From now on this ledger's journal is undone when its agent dies, hangs or is late."""

    def forget(self, ledger: "Ledger") -> None:
        """This ledger is closed: there is nothing to undo."""

    def changed(self) -> None:
        """Claims were added. Raises CannotInject when there is no warden and none can be started."""

    def heartbeat(self) -> None:
        """The agent is alive."""


class Ledger:
    """One node's claims and resources, for one event loop's threads and one firing thread at once.

    ``admit`` and ``tidy`` are slow and belong off the event loop. ``fire`` and ``release`` are fast: no fsync stands
    before the change or before their return; what they record is written when they return and synced right after.
    """

    epoch: int
    """Counts the openings of this journal. A message or record of an earlier epoch is never acted on."""
    ended: Mapping[int, Undone]
    """Worker id → how and when its claims ended, for the workers of earlier epochs: by replay just now, or before."""

    def __init__(self, site: Site, watcher: Watcher | None) -> None:
        """Use ``Ledger.open``."""
        self.site = site
        self._watcher = watcher
        self._lock = _lock(site.directory)
        try:
            self._journal = Journal(site.directory)
            self.epoch = Books(self._journal.records).epoch + 1
            self._books, left = settle(self._journal, site, by="replay", opening=self._opening())
        except BaseException:
            self._lock.release()
            raise
        for text in left:
            log.error("%s: what an earlier agent left could not be undone: %s", site.node, text)
        self._owed = set(self._books.claims)
        """Claims that were to be undone and could not be: not in force, but still in the journal."""
        self.ended = dict(self._books.ended)
        self._guard = threading.RLock()
        """Held for the books and the journal's appends; never during a fsync or a change of the node."""
        self._gates: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
        """By kind: held while a resource's things are looked at and changed."""
        self._resources: dict[str, Resource] = {}
        self._untidy: defaultdict[str, list[Claim]] = defaultdict(list)
        """By kind: claims that were undone, and whose resource is still prepared for them."""
        self._unsynced = threading.Event()
        self._closed = False
        self._syncer = threading.Thread(target=self._sync_what_was_written, name="journal-sync", daemon=True)
        self._syncer.start()
        reached("agent:opened")

    @classmethod
    def open(
        cls,
        state_dir: Path,
        node: str,
        kinds: Mapping[str, str],
        *,
        clock: Callable[[], int] = boot_ns,
        place: Place | None = None,
        watcher: Watcher | None = None,
    ) -> "Ledger":
        """Takes the lock of ``state_dir/node``, undoes whatever is left in its journal, and only then returns.

        ``kinds``: kind of claim → ``module:Class`` of its resource (``Platform.kinds``). ``clock``: now in ns of
        CLOCK_BOOTTIME. Raises JournalLocked (another agent of this name lives), JournalUnreadable (the message names
        the command that heals by hand), OSError.
        """
        directory = state_dir / node
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        ledger = cls(Site(directory, node, kinds, place or Place.here(), clock), watcher)
        if watcher is not None:
            watcher.watch(ledger)
        return ledger

    @property
    def journal_bytes(self) -> int:
        """How much this turn of the journal has written."""
        return self._journal.used_bytes

    def _opening(self) -> Record:
        return {
            "op": "open", "node": self.site.node, "epoch": self.epoch, "boot": boot_id(),
            "net": self.site.place.net, "pid": self.site.place.pid, "owner": os.getpid(),
        }  # fmt: skip

    def admit(self, claims: Sequence[Claim]) -> None:
        """Journals claims and their bases durably, then prepares their resources. Slow: off the event loop.

        After it, firing them is one fast call. Claims whose id was admitted before are skipped. Raises CannotInject
        with nothing left behind.
        """
        new = [claim for claim in {claim.id: claim for claim in claims}.values() if claim.id not in self._books.claims]
        if not new:
            return
        by_kind = _by_kind(new)
        for kind in by_kind:
            self._resource(kind)
        try:
            self._admit(by_kind)
        except OSError as error:
            self.release([claim.id for claim in new], "stop")
            raise CannotInject(f"{self.site.node}: {error}") from error
        except BaseException:
            self.release([claim.id for claim in new], "stop")
            raise

    def _admit(self, by_kind: Mapping[str, Sequence[Claim]]) -> None:
        reached("agent:claims.before")
        for kind, group in by_kind.items():
            with self._gates[kind]:
                self._write_claims(group, {kind: self._bases_of(kind, group)})
        reached("agent:claims.written")
        self._journal.sync()
        reached("agent:claims.synced")
        if self._watcher is not None:
            self._watcher.changed()
        reached("agent:prepare.before")
        for kind, group in by_kind.items():
            with self._gates[kind]:
                self._resources[kind].prepare(group)
        reached("agent:prepared")

    def _bases_of(self, kind: str, claims: Iterable[Claim]) -> dict[str, Json]:
        """The bases of keys that are claimed for the first time; of others, the base is the first claim's."""
        known = self._books.bases.get(kind, {})
        return {key: self._resources[kind].base(key) for key in {claim.key for claim in claims} if key not in known}

    def _write_claims(self, claims: Sequence[Claim], bases: Mapping[str, Mapping[str, Json]]) -> None:
        with self._guard:
            spare = _ROOM_PER_CLAIM * (len(self._books.claims) + len(claims))
            self._write(claims_record(claims, bases), spare=spare, grow=True)

    def fire(self, ids: Iterable[str]) -> Fired:
        """Puts admitted claims in force, now; on the firing thread. Never raises: see ``Fired.troubles``."""
        claims = [self._books.claims[id_] for id_ in ids if id_ in self._books.claims]
        troubles: dict[str, Trouble] = {}
        for kind, group in _by_kind(claims).items():
            try:
                by_key = self._fire(kind, group)
            except Exception as error:
                log.exception("%s: %s was not fired", self.site.node, kind)
                by_key = {claim.key: Trouble("failed", why(error)) for claim in group}
            troubles.update({claim.id: by_key[claim.key] for claim in group if claim.key in by_key})
        return Fired(self.site.clock(), troubles)

    def _fire(self, kind: str, claims: Sequence[Claim]) -> Mapping[str, Trouble]:
        with self._gates[kind]:
            others = self._in_force(kind)
            bases = self._bases_now(kind, claims)
            reached("agent:fired.before")
            ids = [claim.id for claim in claims]
            self._write({"op": "fired", "ids": ids, "at_ns": self.site.clock(), "bases": {kind: bases}})
            self._unsynced.set()
            reached("agent:fired.written")
            troubles = self._apply(kind, [*others, *claims], {claim.key for claim in claims})
            reached("agent:fire.applied")
            return troubles

    def _bases_now(self, kind: str, claims: Iterable[Claim]) -> dict[str, Json]:
        """What a key goes back to is what it was when first fired, not when that was planned: what differs."""
        with self._guard:
            known = self._books.bases.get(kind, {})
            free = {claim.key for claim in claims} - self._books.touched(kind).keys()
        now = {key: self._resources[kind].base(key) for key in free}
        return {key: base for key, base in now.items() if base != known.get(key)}

    def _apply(self, kind: str, claims: Sequence[Claim], keys: set[str]) -> Mapping[str, Trouble]:
        bases = self._books.bases.get(kind, {})
        try:
            return self._resources[kind].apply(claims, {key: bases.get(key) for key in keys}, self.site.clock())
        except Exception as error:
            return dict.fromkeys(keys, Trouble("failed", why(error)))

    def release(self, ids: Iterable[str], how: str, *, tidy: bool = True) -> Undone:
        """Reconciles with these claims gone and records it. ``how``: ``end`` or ``stop``. Never raises.

        Claims that were never fired, or are unknown, are just forgotten. What could not be undone is in
        ``Undone.failed`` and stays in the journal for the warden. ``tidy``: also takes away what was prepared for them;
        without it this is fast, and ``tidy`` is to be called later.
        """
        claims = [self._books.claims[id_] for id_ in ids if id_ in self._books.claims]
        parts = [self._undo_surely(kind, group, how) for kind, group in _by_kind(claims).items()]
        if tidy:
            self.tidy()
        if not parts:
            return Undone(self.site.clock(), how)
        by = {part.by for part in parts}
        return Undone(
            max(part.at_ns for part in parts),
            by.pop() if len(by) == 1 else how,
            tuple(text for part in parts for text in part.left_alone),
            tuple(text for part in parts for text in part.failed),
        )

    def _undo_surely(self, kind: str, claims: Sequence[Claim], how: str) -> Undone:
        """A claim whose undoing cannot be written stays live: it is tried again, and judged by the warden."""
        try:
            return self._undo(kind, claims, how)
        except Exception as error:
            log.exception("%s: %s was not undone", self.site.node, kind)
            self._owed |= {claim.id for claim in claims}
            return Undone(self.site.clock(), how, failed=(f"{kind}: {why(error)}",))

    def _undo(self, kind: str, claims: Sequence[Claim], how: str) -> Undone:
        ids = {claim.id for claim in claims}
        resource = self._resource(kind)
        with self._gates[kind]:
            others = [claim for claim in self._in_force(kind) if claim.id not in ids]
            keys = {claim.key for claim in claims if claim.id in self._books.fired}
            reached("agent:undo.before")
            troubles = self._apply(kind, others, keys) if keys else {}
            reached("agent:undo.applied")
            undone, failed = summed_up(troubles, keys, how, self.site.clock())
            undone = _as_the_kernel_did(
                undone, [resource.kernel_end_ns(claim) for claim in claims if claim.key in keys]
            )
            reached("agent:undone.before")
            done = [claim for claim in claims if claim.key not in failed]
            self._owed = (self._owed | ids) - {claim.id for claim in done}
            self._write(undone_record([claim.id for claim in done], undone, standing=resource.leaves_prepared))
            self._unsynced.set()
            reached("agent:undone.written")
            self._untidy[kind] += done
        return undone

    def tidy(self) -> None:
        """Takes away what was prepared for claims that are no more. Slow: off the firing thread. Never raises.

        What stays does nothing, and goes with this process, or is in the journal until it is gone.
        """
        with self._guard:
            kinds = {*self._untidy, *(claim.kind for claim in self._books.standing.values())}
        for kind in sorted(kinds):
            with self._gates[kind], contextlib.suppress(Exception):
                self._discard(kind)

    def _discard(self, kind: str) -> None:
        with self._guard:
            done, self._untidy[kind] = self._untidy[kind], []
            standing = self._books.left_standing(kind)
        if not done and not standing:
            return
        self._resource(kind).discard(standing or done)
        reached("agent:discarded")
        if standing:
            self._write(discarded_record(standing))
            self._unsynced.set()
        reached("agent:discarded.written")

    def _in_force(self, kind: str) -> list[Claim]:
        with self._guard:
            return [claim for claim in self._books.of_kind(kind, fired=True) if claim.id not in self._owed]

    def claimed(self) -> bool:
        """Whether anything is claimed, in force or not; what is overdue does not count."""
        return bool(self._books.claims.keys() - self._owed)

    def in_force(self) -> list[Claim]:
        """The claims that were fired and were not undone, those too that could not be."""
        with self._guard:
            return [claim for id_, claim in self._books.claims.items() if id_ in self._books.fired]

    def overdue(self) -> list[Claim]:
        """The claims that were to be undone and could not be, by this agent or by an earlier one."""
        with self._guard:
            return [claim for id_, claim in self._books.claims.items() if id_ in self._owed]

    def undone_elsewhere(self, ids: Iterable[str]) -> Mapping[str, Trouble]:
        """Claim id → why it does not hold although it was fired: the kernel, another's hand, a target gone.

        Looks at the node; off the firing path. What cannot be looked at says nothing.
        """
        with self._guard:
            claims = [self._books.claims[id_] for id_ in ids if id_ in self._books.fired]
        lost: dict[str, Trouble] = {}
        for kind, group in _by_kind(claims).items():
            with self._gates[kind], contextlib.suppress(OSError):
                lost.update(self._resources[kind].lost(group))
        return lost

    def undo_overdue(self) -> None:
        """Tries again what could not be undone or taken away. Call it every few seconds, off the firing path."""
        self.tidy()
        if overdue := [claim.id for claim in self.overdue()]:
            left = self.release(overdue, "stop").failed
            log.warning("%s: tried again to undo what is overdue: %s", self.site.node, "; ".join(left) or "done")

    def rearm(self) -> None:
        """Arms again what the kernel would let expire too early. Call it about once an hour, off the firing path."""
        with self._guard:
            kinds = list(self._resources)
        for kind in kinds:
            with self._gates[kind]:
                fired = self._in_force(kind)
                if fired:
                    self._apply(kind, fired, {claim.key for claim in fired})

    def heartbeat(self) -> None:
        """Tells the warden that this agent lives. Call it every 500 ms from the event loop; it blocks on nothing."""
        if self._watcher is not None:
            self._watcher.heartbeat()

    def close(self) -> Sequence[str]:
        """Undoes what is still claimed (``stop``), then gives the journal back. Answers what could not be undone.

        That is left to the warden, for when this process has ended, and to the next agent.
        """
        failed = self.release(list(self._books.claims), "stop").failed
        self._closed = True
        self._unsynced.set()
        self._syncer.join()
        self._sync()
        if self._watcher is not None and not failed:
            self._watcher.forget(self)
        self._journal.close()
        for resource in self._resources.values():
            resource.close()
        self._lock.release()
        return failed

    def _resource(self, kind: str) -> Resource:
        with self._guard:
            if kind not in self._resources:
                self._resources[kind] = self.site.resource(kind)
            return self._resources[kind]

    def _write(self, record: Record, *, spare: int = 0, grow: bool = False) -> None:
        """Journals a record, then believes it; in the journal's next turn where this one has no room."""
        with self._guard:
            if self._journal.append(record, spare=spare):
                self._books.take(record)
                return
            books = Books([*self._books.records(), record])
            self._journal.start(books.records(), grow=grow)
            self._books = books

    def _sync_what_was_written(self) -> None:
        while not self._closed:
            self._unsynced.wait()
            self._unsynced.clear()
            with self._guard:
                fired, live = bool(self._books.fired), bool(self._books.claims)
            self._sync()
            if fired:
                reached("agent:fired.synced")
            if not live:
                reached("agent:undone.synced")

    def _sync(self) -> None:
        try:
            self._journal.sync()
        except OSError:
            log.exception("%s: what was journalled may not be on disk", self.site.node)


def _by_kind(claims: Iterable[Claim]) -> dict[str, list[Claim]]:
    grouped: dict[str, list[Claim]] = {}
    for claim in claims:
        grouped.setdefault(claim.kind, []).append(claim)
    return grouped


def _as_the_kernel_did(undone: Undone, ends_ns: Sequence[int | None]) -> Undone:
    """The kernel was first where its own end has passed for all of them."""
    known = [end_ns for end_ns in ends_ns if end_ns is not None]
    if known and len(known) == len(ends_ns) and max(known) <= undone.at_ns:
        return Undone(max(known), "kernel", undone.left_alone, undone.failed)
    return undone


def _lock(directory: Path) -> Lock:
    """A journal's lock; a warden that undoes, or a program that a killed agent left, may hold it for a moment."""
    deadline = time.monotonic() + LOCKED_S
    while True:
        try:
            return Lock(directory)
        except JournalLocked:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)
