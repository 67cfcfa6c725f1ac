"""Healing by hand, over a node that is a dict."""

from pathlib import Path

import pytest

from trogdor.claim.heal import heal
from trogdor.claim.ledger import JournalLocked, Ledger
from unit.claim.toy import KINDS, NODE, Toy, abandon, claim, damage


@pytest.fixture(autouse=True)
def a_thing() -> None:
    Toy.failing = False
    NODE.clear()
    NODE["thing"] = "as it was"


def left_behind(state: Path, node: str = "n1") -> Ledger:
    dead = Ledger.open(state, node, KINDS)
    dead.admit([claim(1, "a")])
    dead.fire(["1/a"])
    abandon(dead)
    return dead


def test_it_undoes_what_dead_agents_left_and_says_what_that_was(tmp_path: Path) -> None:
    left_behind(tmp_path)
    (healed,) = heal(tmp_path, KINDS)
    assert (healed.node, healed.found, healed.left) == ("n1", ["toy thing (task t1)"], [])
    assert NODE["thing"] == "as it was"
    assert [each.found for each in heal(tmp_path, KINDS)] == [[]]
    heir = Ledger.open(tmp_path, "n1", KINDS)
    assert heir.ended[1].by == "heal"
    heir.close()


def test_a_dry_run_prints_the_commands_and_changes_nothing(tmp_path: Path) -> None:
    left_behind(tmp_path)
    (healed,) = heal(tmp_path, KINDS, dry_run=True)
    assert healed.commands == ["set thing as it was"]
    assert NODE["thing"] == "a"
    assert heal(tmp_path, KINDS)[0].found == ["toy thing (task t1)"]


def test_it_does_nothing_at_all_while_a_live_agent_holds_one_of_the_journals(tmp_path: Path) -> None:
    left_behind(tmp_path, "n1")
    alive = Ledger.open(tmp_path, "n2", KINDS)
    with pytest.raises(JournalLocked, match=r"n2 is held by process \d+"):
        heal(tmp_path, KINDS)
    assert NODE["thing"] == "a"
    alive.close()
    heal(tmp_path, KINDS)
    assert NODE["thing"] == "as it was"


def test_what_cannot_be_put_back_is_said_and_stays_in_the_journal(tmp_path: Path) -> None:
    left_behind(tmp_path)
    Toy.failing = True
    assert heal(tmp_path, KINDS)[0].left == ["toy thing: no toy"]
    Toy.failing = False
    assert heal(tmp_path, KINDS)[0].left == []
    assert NODE["thing"] == "as it was"


def test_an_unreadable_journal_is_salvaged_and_put_aside(tmp_path: Path) -> None:
    dead = Ledger.open(tmp_path, "n1", KINDS)
    for worker in (1, 2, 3):
        dead.admit([claim(worker, "a", f"thing{worker}")])
        dead.fire([f"{worker}/a"])
    abandon(dead)
    damage(dead, b'"2/a"')
    (healed,) = heal(tmp_path, KINDS)
    assert healed.found == ["toy thing1 (task t1)", "toy thing3 (task t3)"]
    assert NODE == {"thing": "as it was", "thing1": None, "thing2": "a", "thing3": None}
    assert healed.aside
    assert all(path.exists() for path in healed.aside)
    Ledger.open(tmp_path, "n1", KINDS).close()


def test_what_lost_its_base_with_a_part_of_the_journal_is_left_and_said_and_the_rest_is_put_back(
    tmp_path: Path,
) -> None:
    dead = Ledger.open(tmp_path, "n1", KINDS)
    for worker, key in ((1, "thing"), (2, "thing"), (3, "other")):
        dead.admit([claim(worker, "a", key)])
    dead.fire(["2/a", "3/a"])
    abandon(dead)
    damage(dead, b'"1/a"')
    heal(tmp_path, KINDS, dry_run=True)
    (healed,) = heal(tmp_path, KINDS)
    assert healed.left == ["toy thing: what it was before was lost with a part of the journal"]
    assert NODE == {"thing": "a", "other": None}
    assert heal(tmp_path, KINDS)[0].found == []


def test_a_machine_with_no_journals_has_nothing_to_heal(tmp_path: Path) -> None:
    assert heal(tmp_path / "nowhere", KINDS) == []
