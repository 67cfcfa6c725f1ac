"""The ledger over a resource that is a dict: overlaps, ends, crashes and what is left to the next agent."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from trogdor.claim import journal
from trogdor.claim import ledger as ledger_module
from trogdor.claim.books import Books
from trogdor.claim.ledger import JournalLocked, JournalUnreadable, Ledger
from trogdor.claim.model import CannotInject, Claim, Trouble
from unit.claim.toy import KINDS, NODE, Toy, abandon, claim, damage


@pytest.fixture(autouse=True)
def a_thing() -> None:
    Toy.failing = Toy.cannot_discard = False
    Toy.standing.clear()
    NODE.clear()
    NODE["thing"] = "as it was"


def test_the_node_is_the_fold_of_what_is_fired_and_goes_back_after_the_last(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, "n1", KINDS)
    ledger.admit([claim(1, "a"), claim(2, "b")])
    assert NODE["thing"] == "as it was"
    seen = []
    for step in (lambda: ledger.fire(["1/a"]), lambda: ledger.fire(["2/b"]), lambda: ledger.release(["1/a"], "end"),
                 lambda: ledger.release(["2/b"], "stop")):  # fmt: skip
        step()
        seen.append(NODE["thing"])
    assert seen == ["a", "a+b", "b", "as it was"]
    assert ledger.in_force() == []
    ledger.close()


def test_a_second_agent_of_the_same_name_is_refused_and_told_who_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "LOCKED_S", 0.05)
    ledger = Ledger.open(tmp_path, "n1", KINDS)
    with pytest.raises(JournalLocked, match="is held by process"):
        Ledger.open(tmp_path, "n1", KINDS)
    ledger.close()
    Ledger.open(tmp_path, "n1", KINDS).close()


def test_the_next_agent_undoes_what_a_dead_one_left_and_says_so(tmp_path: Path) -> None:
    dead = Ledger.open(tmp_path, "n1", KINDS)
    dead.admit([claim(1, "a"), claim(2, "b")])
    dead.fire(["1/a"])
    abandon(dead)
    heir = Ledger.open(tmp_path, "n1", KINDS)
    assert NODE["thing"] == "as it was"
    assert heir.ended[1].by == "replay"
    assert heir.epoch == dead.epoch + 1
    assert heir.in_force() == []
    heir.close()


def test_what_was_armed_and_never_fired_is_not_touched_by_the_next_agent(tmp_path: Path) -> None:
    dead = Ledger.open(tmp_path, "n1", KINDS)
    dead.admit([claim(1, "a")])
    NODE["thing"] = "changed by its owner"
    abandon(dead)
    Ledger.open(tmp_path, "n1", KINDS).close()
    assert NODE["thing"] == "changed by its owner"


def test_it_goes_back_to_what_it_was_when_fired_not_when_admitted(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, "n1", KINDS)
    ledger.admit([claim(1, "a")])
    NODE["thing"] = "changed by its owner"
    ledger.fire(["1/a"])
    abandon(ledger)
    Ledger.open(tmp_path, "n1", KINDS).close()
    assert NODE["thing"] == "changed by its owner"


def test_what_cannot_be_prepared_leaves_nothing_behind(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, "n1", KINDS)
    with pytest.raises(CannotInject, match="the toy is broken"):
        ledger.admit([claim(1, "a"), claim(1, "impossible")])
    assert ledger._books.claims == {}
    assert ledger.fire(["1/a"]).troubles == {}
    assert NODE["thing"] == "as it was"
    ledger.close()


def test_what_cannot_be_undone_is_reported_kept_and_tried_again(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, "n1", KINDS)
    ledger.admit([claim(1, "a")])
    ledger.fire(["1/a"])
    Toy.failing = True
    assert ledger.release(["1/a"], "end").failed == ("thing: no toy",)
    Toy.failing = False
    ledger.admit([claim(2, "b")])
    ledger.fire(["2/b"])
    assert NODE["thing"] == "b"
    assert ledger.in_force() == [*ledger.overdue(), ledger._books.claims["2/b"]]
    ledger.undo_overdue()
    assert ledger.overdue() == []
    ledger.release(["2/b"], "end")
    assert NODE["thing"] == "as it was"
    ledger.close()


def test_what_was_prepared_is_taken_away_behind_the_end_and_does_not_hold_up_others(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, "n1", KINDS)
    ledger.admit([claim(1, "a"), claim(2, "b")])
    ledger.fire(["1/a"])
    ledger.release(["1/a"], "end", tidy=False)
    assert (NODE["thing"], Toy.standing) == ("as it was", {"1/a", "2/b"})
    ledger.tidy()
    assert Toy.standing == {"2/b"}
    ledger.close()
    assert Toy.standing == set()


@pytest.mark.parametrize("heir", ["the next agent", "the same, later"])
def test_what_was_prepared_and_outlives_its_agent_is_not_forgotten_before_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heir: str
) -> None:
    monkeypatch.setattr(Toy, "leaves_prepared", True)
    ledger = Ledger.open(tmp_path, "n1", KINDS)
    ledger.admit([claim(1, "a")])
    ledger.fire(["1/a"])
    Toy.cannot_discard = True
    assert ledger.release(["1/a"], "end").failed == ()
    assert (NODE["thing"], Toy.standing) == ("as it was", {"1/a"})
    again = Books(Books(journal.read(ledger.site.directory)[1]).records())
    assert (again.is_empty, again.claims) == (False, {})
    Toy.cannot_discard = False
    if heir == "the next agent":
        abandon(ledger)
        ledger = Ledger.open(tmp_path, "n1", KINDS)
    else:
        ledger.undo_overdue()
    assert Toy.standing == set()
    ledger.close()
    assert Books(journal.read(ledger.site.directory)[1]).is_empty


def test_a_firing_that_fails_says_why(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, "n1", KINDS)
    ledger.admit([claim(1, "a")])
    Toy.failing = True
    assert ledger.fire(["1/a"]).troubles == {"1/a": Trouble("failed", "no toy")}
    Toy.failing = False
    ledger.close()


def test_a_resource_whose_program_hangs_is_a_trouble_of_its_own_and_of_no_other(tmp_path: Path) -> None:
    dead = Ledger.open(tmp_path, "n1", KINDS)
    dead.admit([claim(1, "a", "glass", "brittle"), claim(1, "b")])
    Toy.failing = True
    assert dead.fire(["1/a", "1/b"]).troubles.keys() == {"1/a", "1/b"}
    assert len(dead.release(["1/a"], "end").failed) == 1
    abandon(dead)
    heir = Ledger.open(tmp_path, "n1", KINDS)
    assert heir.claimed() is False
    Toy.failing = False
    heir.undo_overdue()
    assert Books(journal.read(heir.site.directory)[1]).claims == {}
    heir.close()


def failing_once(monkeypatch: pytest.MonkeyPatch, name: str) -> SimpleQueue[str]:
    """The journal's next ``name`` fails; what it did is in the answer."""
    done: SimpleQueue[str] = SimpleQueue()
    before = getattr(journal.Journal, name)

    def fails(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(journal.Journal, name, works)
        done.put("failed")
        raise OSError(errno.EIO, "the disk is broken")

    def works(*arguments: Any, **options: Any) -> Any:
        value = before(*arguments, **options)
        done.put("worked")
        return value

    monkeypatch.setattr(journal.Journal, name, fails)
    return done


def test_what_cannot_be_journalled_is_not_fired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger.open(tmp_path, "n1", KINDS)
    ledger.admit([claim(1, "a")])
    failing_once(monkeypatch, "append")
    assert ledger.fire(["1/a"]).troubles == {"1/a": Trouble("failed", "[Errno 5] the disk is broken")}
    assert NODE["thing"] == "as it was"
    assert ledger.release(["1/a"], "end").failed == ()
    ledger.close()


def test_what_was_undone_and_could_not_be_journalled_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.open(tmp_path, "n1", KINDS)
    ledger.admit([claim(1, "a")])
    ledger.fire(["1/a"])
    failing_once(monkeypatch, "append")
    assert ledger.release(["1/a"], "end").failed == ("toy: [Errno 5] the disk is broken",)
    ledger.undo_overdue()
    assert Books(journal.read(ledger.site.directory)[1]).claims == {}
    assert NODE["thing"] == "as it was"
    ledger.close()


def test_a_failed_fsync_does_not_end_all_later_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger.open(tmp_path, "n1", KINDS)
    ledger.admit([claim(1, "a")])
    done = failing_once(monkeypatch, "sync")
    ledger.fire(["1/a"])
    assert done.get(timeout=30) == "failed"
    ledger.release(["1/a"], "end")
    assert done.get(timeout=30) == "worked"
    ledger.close()


def test_a_damaged_journal_stops_the_agent_with_the_command_that_heals(tmp_path: Path) -> None:
    dead = Ledger.open(tmp_path, "n1", KINDS)
    for worker in range(3):
        dead.admit([claim(worker, "a")])
    abandon(dead)
    damage(dead, b'"0/a"')
    with pytest.raises(JournalUnreadable, match=r"trogdor heal --local --state"):
        Ledger.open(tmp_path, "n1", KINDS)


def test_more_claims_than_a_turn_holds_begin_another_and_none_is_lost(tmp_path: Path) -> None:
    dead = Ledger.open(tmp_path, "n1", KINDS)
    claims = [claim(worker, "a", f"thing{worker}") for worker in range(1, 1500)]
    for start in range(0, len(claims), 500):
        dead.admit(claims[start : start + 500])
        dead.fire([each.id for each in claims[start : start + 500]])
    assert len(NODE) == 1500
    dead.release([each.id for each in claims[:-1]], "end")
    abandon(dead)
    Ledger.open(tmp_path, "n1", KINDS).close()
    assert {"thing": "as it was", **{each.key: None for each in claims}} == NODE


def test_a_disk_that_is_full_refuses_claims_and_leaves_none_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.open(tmp_path, "n1", KINDS)
    ledger.admit([claim(1, "a")])

    def full(*_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(journal.os, "posix_fallocate", full)
    with pytest.raises(CannotInject, match="no disk space"):
        ledger.admit([claim(worker, "b", f"thing{worker}") for worker in range(2, 2000)])
    assert set(Books(journal.read(ledger.site.directory)[1]).claims) == {"1/a"}
    ledger.fire(["1/a"])
    assert ledger.release(["1/a"], "end").failed == ()
    assert NODE == {"thing": "as it was"}
    ledger.close()


def test_arming_on_one_thread_and_firing_on_another_lose_nothing(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, "n1", KINDS)
    armed: SimpleQueue[Claim | None] = SimpleQueue()

    def fire_and_release() -> None:
        while (each := armed.get()) is not None:
            assert ledger.fire([each.id]).troubles == {}
            assert NODE[each.key] == each.want
            assert ledger.release([each.id], "end").failed == ()

    firing = ThreadPoolExecutor(1)
    done = firing.submit(fire_and_release)
    for worker in range(300):
        each = claim(worker, "a", f"thing{worker % 7}/{worker}")
        ledger.admit([each, claim(-worker - 1, "never fired")])
        armed.put(each)
    armed.put(None)
    done.result(60)
    ledger.close()
    books = Books(journal.read(ledger.site.directory)[1])
    assert (books.claims, books.fired) == ({}, {})
    assert set(NODE.values()) == {"as it was", None}


def another_boot(ledger: Ledger) -> None:
    """Makes the journal say that its agent ran before a reboot."""
    before = {**ledger._books.opened, "boot": "another"}
    ledger._journal.append(before)
    abandon(ledger)


def test_after_a_reboot_nothing_is_put_back_that_the_reboot_undid(tmp_path: Path) -> None:
    dead = Ledger.open(tmp_path, "n1", KINDS)
    dead.admit([claim(1, "a")])
    dead.fire(["1/a"])
    another_boot(dead)
    NODE["thing"] = "as the machine booted"
    heir = Ledger.open(tmp_path, "n1", KINDS)
    assert NODE["thing"] == "as the machine booted"
    assert heir.ended[1].by == "gone"
    heir.close()


def test_after_a_reboot_what_outlives_it_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "outlives_boot", True)
    dead = Ledger.open(tmp_path, "n1", KINDS)
    dead.admit([claim(1, "a")])
    dead.fire(["1/a"])
    another_boot(dead)
    Ledger.open(tmp_path, "n1", KINDS).close()
    assert NODE["thing"] == "as it was"


def test_what_the_last_agent_could_not_undo_is_not_this_one_s_to_be_late_with(tmp_path: Path) -> None:
    dead = Ledger.open(tmp_path, "n1", KINDS)
    dead.admit([claim(1, "a")])
    dead.fire(["1/a"])
    abandon(dead)
    Toy.failing = True
    heir = Ledger.open(tmp_path, "n1", KINDS)
    books = Books(journal.read(heir.site.directory)[1])
    assert books.inherited == set(books.claims) == {"1/a"}
    heir.admit([claim(2, "b")])
    again = Books(Books(journal.read(heir.site.directory)[1]).records())
    assert (again.inherited, set(again.claims)) == ({"1/a"}, {"1/a", "2/b"})
    Toy.failing = False
    heir.undo_overdue()
    assert NODE["thing"] == "as it was"
    heir.close()
