"""The journal: torn tails, turns, growth, and what undoing needs of the disk."""

import os
import subprocess
from pathlib import Path

import pytest

from trogdor.claim import journal as journals
from trogdor.claim.journal import HELD, Journal, JournalLocked, JournalUnreadable, Lock, parse, read
from trogdor.claim.model import CannotInject

FIRST = {"op": "open", "epoch": 1}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    opened = Journal(tmp_path, size=1 << 12)
    opened.start([FIRST])
    return opened


def current(journal: Journal) -> Path:
    return journal.directory / f"journal.{journal.generation % 2}"


def test_what_was_appended_is_read_back_in_order(journal: Journal) -> None:
    for number in range(10):
        assert journal.append({"op": "x", "number": number})
    assert read(journal.directory)[1] == [FIRST, *({"op": "x", "number": number} for number in range(10))]


@pytest.mark.parametrize("kept", range(1, 40, 3))
def test_a_torn_tail_is_cut(journal: Journal, kept: int) -> None:
    before = current(journal).read_bytes().rstrip(b"\0")
    journal.append({"op": "x", "text": "torn off somewhere"})
    whole = current(journal).read_bytes()
    torn = whole[: len(before) + kept]
    current(journal).write_bytes(torn + bytes(len(whole) - len(torn)))
    assert read(journal.directory)[1] == [FIRST]


def test_damage_before_a_whole_record_is_no_torn_tail(journal: Journal) -> None:
    for text in ("damaged", "whole"):
        journal.append({"op": "x", "text": text})
    current(journal).write_bytes(current(journal).read_bytes().replace(b"damaged", b"damAged"))
    with pytest.raises(JournalUnreadable, match="trogdor heal --local"):
        read(journal.directory)


def test_what_an_older_turn_left_behind_is_looked_at_only_where_a_record_may_begin(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_behind = 0
    while journal.append({"op": "x", "text": "x" * 20}):
        left_behind += 1
    journal.start([FIRST])
    journal.start([FIRST])
    looked_at = []
    monkeypatch.setattr(journals, "parse", lambda data, at, of: (looked_at.append(at), parse(data, at, of))[1])
    assert read(journal.directory)[1] == [FIRST]
    assert len(looked_at) <= left_behind + 1


def test_another_format_is_not_guessed_at(journal: Journal) -> None:
    data = current(journal).read_bytes()
    current(journal).write_bytes(data[:8] + b"\x63" + data[9:])
    with pytest.raises(JournalUnreadable, match="another format"):
        read(journal.directory)


def test_a_full_turn_says_so_and_the_next_holds_what_is_live(journal: Journal) -> None:
    while journal.append({"op": "x", "text": "x" * 100}):
        pass
    journal.start([FIRST, {"op": "live"}])
    assert read(journal.directory)[1] == [FIRST, {"op": "live"}]
    assert journal.append({"op": "more"})


def test_a_turn_that_was_not_finished_does_not_count(journal: Journal) -> None:
    other = journal.directory / f"journal.{(journal.generation + 1) % 2}"
    other.write_bytes(bytes(24) + b"half a record" + bytes(100))
    assert read(journal.directory)[1] == [FIRST]


def test_a_new_turn_needs_no_more_disk_than_there_is_already(journal: Journal) -> None:
    journal.append({"op": "x"})
    for _ in range(3):
        sizes = {path.name: path.stat().st_size for path in journal.directory.glob("journal.*")}
        blocks = {path.name: path.stat().st_blocks for path in journal.directory.glob("journal.*")}
        journal.start([FIRST])
        assert sizes == {path.name: path.stat().st_size for path in journal.directory.glob("journal.*")}
        assert blocks == {path.name: path.stat().st_blocks for path in journal.directory.glob("journal.*")}


def test_a_disk_without_room_for_more_claims_refuses_them(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(journals.os, "posix_fallocate", full)
    journal.start([FIRST, {"op": "fits"}])
    with pytest.raises(CannotInject, match="no disk space"):
        journal.start([{"op": "claims", "text": "x" * 10_000}], grow=True)
    assert journal.append({"op": "goes on"})
    assert read(journal.directory)[1] == [FIRST, {"op": "fits"}, {"op": "goes on"}]


def test_a_program_that_changes_the_node_holds_the_lock_until_it_ends(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, pass_fds=tuple(HELD)) as program:
        lock.release()
        with pytest.raises(JournalLocked):
            Lock(tmp_path)
        assert program.stdin is not None
        program.stdin.close()
        program.wait(30)
    Lock(tmp_path).release()
