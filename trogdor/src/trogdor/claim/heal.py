"""Healing by hand: this machine's journals and the kernel's leftovers reconciled with no daemon at all."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trogdor.claim.books import Books
from trogdor.claim.journal import Journal, JournalLocked, JournalUnreadable, Lock, put_aside, salvage
from trogdor.claim.model import Json
from trogdor.claim.place import Place
from trogdor.claim.settle import Site, boot_ns, put_back, settle

_NAMESPACES = ("net", "pid")


@dataclass(frozen=True)
class Healed:
    """What was found and done in one node's journal. Empty lists: nothing was left there."""

    node: str
    directory: Path
    found: Sequence[str]
    """What was claimed: ``process 17@4711 (task t1)``, and leftovers that no journal knew of."""
    left: Sequence[str] = ()
    """What could not be put back, and why, or what somebody else had changed."""
    commands: Sequence[str] = ()
    """A dry run's answer: plain commands that put everything back."""
    aside: Sequence[Path] = ()
    """Where an unreadable journal's files are now."""


def heal(state: Path, kinds: Mapping[str, str], *, dry_run: bool = False) -> list[Healed]:
    """Undoes everything that the journals under ``state`` hold, one directory a node.

    Raises JournalLocked, naming every holder, while a live agent holds one of them: nothing is done then. With
    ``dry_run`` nothing is changed and the answer holds the commands that would put things back.
    """
    directories = sorted(path.parent for path in state.glob("*/lock"))
    locks, held = [], []
    try:
        for directory in directories:
            try:
                locks.append(Lock(directory))
            except JournalLocked as error:
                held.append(str(error))
        if held:
            raise JournalLocked("\n".join(held))
        return [_heal(directory, kinds, dry_run) for directory in directories]
    finally:
        for lock in locks:
            lock.release()


def _heal(directory: Path, kinds: Mapping[str, str], dry_run: bool) -> Healed:
    unreadable = False
    try:
        journal = Journal(directory)
    except JournalUnreadable:
        unreadable = True
        journal = Journal(directory, records=salvage(directory))
    books = Books(journal.records)
    node = books.opened.get("node", directory.name)
    place = place_of(books)
    site = Site(directory, node, kinds, place, boot_ns)
    found = [f"{claim.kind} {claim.key} (task {claim.term.task_id})" for claim in books.claims.values()]
    leftovers = {kind: _leftovers(site, kind) for kind in kinds}
    found += [f"{kind} {key} (in no journal)" for kind, keys in leftovers.items() for key in keys]
    try:
        if dry_run:
            wanted = {kind: {**leftovers[kind], **books.touched(kind)} for kind in kinds}
            return Healed(node, directory, found, commands=_commands(site, wanted))
        ended, left = settle(journal, site, by="heal") if unreadable or not books.is_empty else (books, [])
        left += [text for kind, keys in leftovers.items() for text in put_back(site, kind, keys, "heal")]
        aside = _put_aside(journal, ended) if unreadable else []
        return Healed(node, directory, found, left, aside=aside)
    finally:
        journal.close()
        place.close()


def _put_aside(journal: Journal, books: Books) -> list[Path]:
    """The unreadable files, and a new journal that the next agent can read."""
    aside = put_aside(journal.directory)
    journal.start(books.records())
    return aside


def place_of(books: Books) -> Place:
    """The namespaces that a journal's agent worked in: ours, or those of any process that is in them still."""
    here = Place.here()
    wanted = {kind: books.opened.get(kind) for kind in _NAMESPACES}
    if not books.opened or all(wanted[kind] == getattr(here, kind) for kind in _NAMESPACES):
        return here
    for name in os.listdir("/proc"):
        try:
            if name.isdecimal() and all(
                os.stat(f"/proc/{name}/ns/{kind}").st_ino == wanted[kind] for kind in _NAMESPACES
            ):
                return Place.of_process(int(name))
        except OSError:
            continue
    return here


def _leftovers(site: Site, kind: str) -> Mapping[str, Json]:
    resource = site.resource(kind)
    try:
        return resource.leftovers()
    except Exception:  # what this machine cannot even look at, it cannot have made
        return {}
    finally:
        resource.close()


def _commands(site: Site, wanted: Mapping[str, Mapping[str, Json]]) -> list[str]:
    enter = [] if site.place.root_pid is None else [f"nsenter -t {site.place.root_pid} -n"]
    commands = []
    for kind, keys in wanted.items():
        resource = site.resource(kind)
        for key, base in keys.items():
            commands += [
                " ".join([*(enter if resource.scope == "net" else []), each]) for each in resource.commands(key, base)
            ]
        resource.close()
    return list(dict.fromkeys(commands))
