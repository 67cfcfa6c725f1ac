"""The journal of one node's claims: what was claimed, what it goes back to, what was undone. It survives its writer.

Two preallocated files take turns: one is appended to; when it is full, what still matters is written to the other,
which then is the newer. So undoing, and recording it, need no disk space. A record is
``length, checksum, JSON``; the checksum covers the file's generation, so that what an older turn left behind is no
record, and a torn tail is cut.
"""

import contextlib
import errno
import fcntl
import json
import os
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from struct import Struct
from typing import Any

from trogdor.claim.model import CannotInject, Json

FORMAT = 1
SIZE = 1 << 18
"""Bytes preallocated for each of the two files at first; a file grows only when claims are admitted."""
MOST = 1 << 26
"""Bytes beyond which nothing more is admitted."""

_HEADER = Struct("<8sQQ")
_MAGIC = b"trogdor\n"
_FRAME = Struct("<II")
_OPENING = b'{"op":'
"""What each record's text begins with."""

Record = dict[str, Json]


class JournalLocked(Exception):
    """Another process holds this journal."""


class JournalUnreadable(Exception):
    """The journal cannot be read; the message names the command that heals by hand."""


HELD: set[int] = set()
"""The locks that this process holds, as descriptors. A short-lived program that changes the node inherits them
(``pass_fds``), so that nobody undoes what a killed agent began before the last of its programs has ended."""


class Lock:
    """Holds a journal's directory: taken by its holder itself, gone when the holder and its short programs are."""

    def __init__(self, directory: Path) -> None:
        self._fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._fd, 64, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise JournalLocked(f"{directory} is held by process {holder}: one agent a node name") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        HELD.add(self._fd)
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """A forked child must not keep the lock when its parent dies."""
        if self._fd >= 0:
            HELD.discard(self._fd)
            os.close(self._fd)
            self._fd = -1

    def release(self) -> None:
        """Lets another process have the journal."""
        self._forget()


class Journal:
    """An open journal. ``append`` writes, ``sync`` makes durable: two things, and what is timed is the first."""

    def __init__(self, directory: Path, *, size: int = SIZE, records: Sequence[Record] | None = None) -> None:
        """Reads what is there, unless ``records`` tell it; nothing is changed yet. Raises JournalUnreadable."""
        self.directory = directory
        self._size = size
        self._lock = threading.Lock()
        self._fd = -1
        self._end = 0
        self.generation, self.records = read(directory) if records is None else (_newest(directory), list(records))

    def start(self, records: Iterable[Record], *, grow: bool = False) -> None:
        """Begins a new turn with these records, durably. Raises CannotInject when ``grow`` finds no room for them."""
        with self._lock:
            self._turn(list(records), grow)

    def _turn(self, records: Sequence[Record], grow: bool) -> None:
        generation = self.generation + 1
        data = b"".join(_framed(record, generation) for record in records)
        fd = os.open(_file(self.directory, generation), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._allocate(fd, 2 * (len(data) + _HEADER.size), grow)
            os.pwrite(fd, data + bytes(_FRAME.size), _HEADER.size)
            os.fdatasync(fd)
            os.pwrite(fd, _head(generation), 0)
            os.fsync(fd)
        except BaseException:
            os.close(fd)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._end, self.generation = fd, _HEADER.size + len(data), generation
        self._sync_directory()

    def _allocate(self, fd: int, wanted: int, grow: bool) -> None:
        """Both files are to hold twice what is live, so that the next turn finds room whatever the disk says."""
        size = self._size
        while grow and size < wanted:
            size *= 2
        if size > MOST:
            raise CannotInject(f"{self.directory}: more than {MOST >> 20} MiB of claims at once")
        other = os.open(_file(self.directory, self.generation), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = max(size, *(os.fstat(each).st_size for each in (fd, other)))
            for each in (fd, other):
                if os.fstat(each).st_size < size:
                    os.posix_fallocate(each, 0, size)
            self._size = size
        except OSError as error:
            if error.errno == errno.ENOSPC and grow:
                raise CannotInject(f"{self.directory}: no disk space for the journal of this fault") from None
            raise
        finally:
            os.close(other)

    def _sync_directory(self) -> None:
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def append(self, record: Record, *, spare: int = 0) -> bool:
        """Writes a record, not yet durable. False when it has no room, ``spare`` bytes more: begin a new turn."""
        with self._lock:
            data = _framed(record, self.generation)
            if self._end + len(data) + _FRAME.size + spare > self._size:
                return False
            os.pwrite(self._fd, data + bytes(_FRAME.size), self._end)
            self._end += len(data)
            return True

    @property
    def used_bytes(self) -> int:
        """How much of its file this turn has written."""
        return self._end

    def sync(self) -> None:
        """Returns when everything appended before is durable."""
        with self._lock:
            fd = os.dup(self._fd)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Closes the file; what was appended stays."""
        with self._lock, contextlib.suppress(OSError):
            os.close(self._fd)
            self._fd = -1


def _file(directory: Path, generation: int) -> Path:
    return directory / f"journal.{generation % 2}"


def _framed(record: Record, generation: int) -> bytes:
    text = json.dumps(record, separators=(",", ":")).encode()
    assert text.startswith(_OPENING)
    return _FRAME.pack(len(text), _checksum(text, generation)) + text


def _checksum(text: bytes, generation: int) -> int:
    return zlib.crc32(text, generation & 0xFFFFFFFF)


def _head(generation: int) -> bytes:
    return _HEADER.pack(_MAGIC, FORMAT, generation)


def read(directory: Path) -> tuple[int, list[Record]]:
    """The generation and the records of the newer file; (0, []) where there is none. Raises JournalUnreadable."""
    turns = []
    for turn in (0, 1):
        try:
            data = (directory / f"journal.{turn}").read_bytes()
        except FileNotFoundError:
            continue
        if len(data) >= _HEADER.size and any(data[: _HEADER.size]):
            turns.append((_generation(directory, data), data))
    if not turns:
        return 0, []
    generation, data = max(turns)
    return generation, records_of(directory, data, generation)


def salvage(directory: Path) -> list[Record]:
    """Every whole record that can be found in a journal that cannot be read, older file first."""
    newest = _newest(directory)
    records = []
    for generation in (newest - 1, newest):
        with contextlib.suppress(FileNotFoundError):
            data = _file(directory, generation).read_bytes()
            after = 0
            for offset in _possible(data, 0):
                if offset >= after:
                    found, after = parse(data, offset, generation)
                    records += found
    return records


def _newest(directory: Path) -> int:
    """The highest generation that a whole header, or else the files' number, allows for."""
    found = 0
    for turn in (0, 1):
        with contextlib.suppress(OSError):
            head = (directory / f"journal.{turn}").read_bytes()[: _HEADER.size]
            if len(head) == _HEADER.size and head.startswith(_MAGIC):
                found = max(found, int(_HEADER.unpack(head)[2]))
    return found


def put_aside(directory: Path) -> list[Path]:
    """Renames an unreadable journal's files, so that they can still be looked at; answers their new names."""
    aside = []
    for turn in (0, 1):
        path = directory / f"journal.{turn}"
        if path.exists():
            aside.append(path.rename(path.with_name(f"unreadable-{time.time_ns()}.{turn}")))
    return aside


def _generation(directory: Path, data: bytes) -> int:
    magic, version, generation = _HEADER.unpack_from(data)
    if magic != _MAGIC or version != FORMAT:
        raise unreadable(directory, "it is of another format")
    return int(generation)


def records_of(directory: Path, data: bytes, generation: int) -> list[Record]:
    """The records of one file. A torn tail is cut; anything whole behind something torn is JournalUnreadable."""
    records, offset = parse(data, _HEADER.size, generation)
    if any(parse(data, behind, generation)[0] for behind in _possible(data, offset + 1)):
        raise unreadable(directory, f"what stands at byte {offset} is damaged")
    return records


def _possible(data: bytes, offset: int) -> Iterator[int]:
    """Where a record may begin, from ``offset`` on. At each byte would take seconds: older turns leave much behind."""
    text = data.find(_OPENING, offset + _FRAME.size)
    while text >= 0:
        yield text - _FRAME.size
        text = data.find(_OPENING, text + 1)


def parse(data: bytes, offset: int, generation: int) -> tuple[list[Record], int]:
    """Whole records from ``offset`` on, and where they end."""
    records: list[Record] = []
    while offset + _FRAME.size <= len(data):
        length, checksum = _FRAME.unpack_from(data, offset)
        if not 0 < length <= len(data) - offset - _FRAME.size:
            break
        text = data[offset + _FRAME.size : offset + _FRAME.size + length]
        if _checksum(text, generation) != checksum:
            break
        value: Any = json.loads(text)
        records.append(value)
        offset += _FRAME.size + length
    return records, offset


def unreadable(directory: Path, why: str) -> JournalUnreadable:
    """The error that stops an agent rather than let it forget a fault."""
    return JournalUnreadable(
        f"the journal in {directory} cannot be read: {why}. It may hold faults that are still in force; "
        f"`trogdor heal --local --state {directory.parent}` undoes what it can and puts the journal aside"
    )
