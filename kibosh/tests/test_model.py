"""Random operations against a model of a file, while faults come and go, in the manner of fsx."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import kibosh

pytestmark = pytest.mark.model

LARGEST = 40_000
places = st.integers(0, LARGEST - 1)
lengths = st.integers(1, 9000)
byte = st.integers(1, 255)

operations = st.lists(
    st.one_of(
        st.tuples(st.just("write"), places, lengths, byte),
        st.tuples(st.just("read"), places, lengths, byte),
        st.tuples(st.just("append"), places, st.integers(1, 3000), byte),
        st.tuples(st.just("truncate"), places, lengths, byte),
        st.tuples(st.just("map"), places, lengths, byte),
        st.tuples(st.just("sync"), places, lengths, byte),
        st.tuples(st.just("reopen"), places, lengths, byte),
        st.tuples(st.just("rename"), places, lengths, byte),
        st.tuples(st.just("fault"), places, lengths, byte),
        st.tuples(st.just("clear"), places, lengths, byte),
    ),
    min_size=5,
    max_size=40,
)


class Pair:
    """A file on the mount and what it should hold."""

    def __init__(self, fs: kibosh.Mount) -> None:
        self.fs = fs
        self.names = (fs.mountpoint / "one", fs.mountpoint / "two")
        self.name, self.other = self.names
        self.file = os.open(self.name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        self.content = bytearray()
        self.unreadable = self.unwritable = False

    def end(self) -> None:
        self.fs.clear()
        os.fsync(self.file)
        os.close(self.file)
        assert self.name.read_bytes() == self.content
        assert (self.fs.target / self.name.name).read_bytes() == self.content
        self.name.unlink()

    def expect(self, fails: bool, act: Callable[[], object]) -> bool:
        """Whether it was carried out, which must be exactly when no fault is about it."""
        try:
            act()
        except OSError as error:
            assert fails and error.errno == errno.EIO, error
            return False
        assert not fails, "a fault in force was not felt"
        return True

    def store(self, at: int, data: bytes) -> None:
        self.content.extend(bytes(max(at + len(data) - len(self.content), 0)))
        self.content[at : at + len(data)] = data

    def write(self, at: int, length: int, value: int) -> None:
        data = bytes([value]) * length
        if self.expect(self.unwritable, lambda: os.pwrite(self.file, data, at)):
            self.store(at, data)

    def append(self, at: int, length: int, value: int) -> None:
        data = bytes([value]) * length
        appender = os.open(self.name, os.O_WRONLY | os.O_APPEND)
        if self.expect(self.unwritable, lambda: os.write(appender, data)):
            self.store(len(self.content), data)
        os.close(appender)

    def read(self, at: int, length: int, value: int) -> None:
        found = []
        if self.expect(self.unreadable, lambda: found.append(os.pread(self.file, length, at))):
            assert found[0] == self.content[at : at + length]

    def truncate(self, at: int, length: int, value: int) -> None:
        os.ftruncate(self.file, at)
        del self.content[at:]
        self.content.extend(bytes(at - len(self.content)))

    def map(self, at: int, length: int, value: int) -> None:
        end = min(at + length, len(self.content))
        if end <= at or self.unreadable or self.unwritable:
            return
        with mmap.mmap(self.file, len(self.content)) as mapped:
            assert mapped[at:end] == self.content[at:end]
            mapped[at:end] = bytes([value]) * (end - at)
        self.store(at, bytes([value]) * (end - at))

    def sync(self, at: int, length: int, value: int) -> None:
        os.fsync(self.file)

    def reopen(self, at: int, length: int, value: int) -> None:
        os.close(self.file)
        self.file = os.open(self.name, os.O_RDWR)

    def rename(self, at: int, length: int, value: int) -> None:
        self.name.rename(self.other)
        self.name, self.other = self.other, self.name

    def fault(self, at: int, length: int, value: int) -> None:
        self.unreadable, self.unwritable = bool(value & 1), bool(value & 2)
        faults: list[kibosh.Fault] = [kibosh.Unreadable(prefix="/elsewhere", code="EROFS")]
        faults += [kibosh.Unreadable(code="EIO")] * self.unreadable
        faults += [kibosh.Unwritable(code="EIO")] * self.unwritable
        self.fs.set(faults)

    def clear(self, at: int, length: int, value: int) -> None:
        self.fs.clear()
        self.unreadable = self.unwritable = False


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
@given(steps=operations)
def test_a_file_is_what_was_written_and_faults_are_felt_exactly_when_set(
    any_fs: kibosh.Mount, steps: list[tuple[str, int, int, int]]
) -> None:
    pair = Pair(any_fs)
    try:
        for name, at, length, value in steps:
            getattr(pair, name)(at, length, value)
    finally:
        pair.end()


def names_of(base: Path) -> list[str]:
    return sorted(os.listdir(base))


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.tuples(st.sampled_from("cudrm"), st.integers(0, 4), st.integers(0, 4)), max_size=30))
def test_losing_unsynced_names_gives_back_the_directory_of_before(
    any_fs: kibosh.Mount, steps: list[tuple[str, int, int]]
) -> None:
    """Files are made, changed, removed, moved and linked at random; the moment undoes it all."""
    base = any_fs.mountpoint
    any_fs.clear()
    for name in names_of(base):
        (base / name).unlink()
    assert names_of(any_fs.target) == []
    for number in range(3):
        (base / str(number)).write_bytes(bytes([65 + number]) * 5000)
    before = {name: (base / name).read_bytes() for name in names_of(base)}
    any_fs.set([kibosh.LoseUnsynced()])
    for kind, first, second in steps:
        source, target = base / str(first), base / str(second)
        if kind == "c":
            source.write_bytes(b"new" * (second + 1))
        elif not source.exists():
            continue
        elif kind == "u":
            os.truncate(source, second * 1500)
        elif kind == "d":
            source.unlink()
        elif kind == "r":
            source.rename(target)
        elif not target.exists():
            os.link(source, target)
    any_fs.lose_unsynced()
    assert {name: (base / name).read_bytes() for name in names_of(base)} == before
