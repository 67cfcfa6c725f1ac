"""The warden's own side, over a node that is a dict."""

from pathlib import Path

import pytest

from trogdor.claim.ledger import Ledger
from trogdor.warden import _undone, _Watched
from unit.claim.toy import KINDS, NODE, Toy, abandon, claim


@pytest.fixture(autouse=True)
def a_thing() -> None:
    Toy.failing = False
    NODE.clear()
    NODE["thing"] = "as it was"


def test_a_program_that_hangs_while_it_undoes_is_tried_again(tmp_path: Path) -> None:
    dead = Ledger.open(tmp_path, "n1", KINDS)
    dead.admit([claim(1, "a", "glass", "brittle"), claim(1, "b")])
    dead.fire(["1/a", "1/b"])
    abandon(dead)
    watched = _Watched(dead.site, dead.epoch)
    Toy.failing = True
    assert _undone(watched) is False
    Toy.failing = False
    assert _undone(watched) is True
    assert NODE == {"glass": None, "thing": "as it was"}
