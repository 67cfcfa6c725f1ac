"""The warden, over a node that is a dict."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from trogdor.claim.ledger import Ledger
from trogdor.warden import LATENESS_NS, Warden, _undone, _Watched
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


def test_only_a_claim_that_was_fired_can_be_late(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path, "n1", KINDS)
    slow = claim(1, "a")
    ledger.admit([slow])
    watched, end_ns = _Watched(ledger.site, ledger.epoch), slow.term.end_ns
    seen = []
    for now_ns in (end_ns, end_ns + LATENESS_NS + 1):
        watched.look(now_ns)
        seen.append(watched.ends_ns)
    ledger.fire([slow.id])
    watched.look(end_ns + LATENESS_NS + 1)
    assert [*seen, watched.ends_ns] == [end_ns, None, end_ns]
    ledger.close()


def test_a_warden_that_is_busy_is_let_live_and_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    warden = Warden()
    busy, told = warden.pid, list[Any]()
    try:
        os.kill(busy, signal.SIGSTOP)
        with suppress(BlockingIOError):
            while True:
                warden._send({"alive": 0})
        warden.changed()
        assert warden.pid == busy
        monkeypatch.setattr(warden, "_send", told.append)
        warden.heartbeat()
        warden.heartbeat()
        assert told == [{"changed": True}, {"alive": 0}]
    finally:
        monkeypatch.undo()
        os.kill(warden.pid, signal.SIGCONT)
        warden.close()
