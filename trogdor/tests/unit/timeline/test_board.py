"""The live page's board: what is drawn of many tasks, and that unchanged ones are not laid out again."""

from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

from trogdor.coordinator import board as module
from trogdor.coordinator.board import Beside, Board
from trogdor.timeline.collect import topology_of_names
from trogdor.timeline.model import Bar
from trogdor.timeline.svg import View


def board() -> Board:
    return Board(cast(Any, SimpleNamespace(topology=topology_of_names(["n1", "n2"]))))


NOTHING = Beside([], [])
BARS = [
    Bar(str(n), node, "NoOp", n * 1000.0, n * 1000.0 + 900, n * 1000.0, n * 1000.0 + 900, "done")
    for n in range(200)
    for node in ("n1", "n2")
]


def test_many_bars_are_drawn_as_few_are() -> None:
    view = View(1200, 0, 200_000)
    few = board()._drawn(BARS, NOTHING, 1e6, view, "")
    with patch.object(module, "MANY", 10):
        assert board()._drawn(BARS, NOTHING, 1e6, view, "") == few


def test_many_bars_are_laid_out_once_until_one_changes_or_the_filter_does() -> None:
    many, view = board(), View(1200, 0, 200_000)
    with patch.object(module, "MANY", 10), patch.object(module, "Layout", wraps=module.Layout) as layouts:
        many._drawn(BARS, NOTHING, 1e6, view, "")
        many._drawn(BARS, NOTHING, 1e6, View(1200, 1000, 150_000), "")
        assert layouts.call_count == 1
        many._drawn(BARS, NOTHING, 1e6, view, "n1")
        assert layouts.call_count == 2
        many._version += 1
        many._drawn(BARS, NOTHING, 1e6, view, "n1")
        assert layouts.call_count == 3


def test_the_filter_leaves_what_its_words_occur_in() -> None:
    svg = board()._drawn(BARS[:10], NOTHING, 1e6, View(1200, 0, 5000), "n2")
    assert "n1: 0 in view" in svg
    assert "n2: 5 in view" in svg


def test_only_tasks_that_take_any_of_the_time_looked_at_are_looked_at() -> None:
    looked_at = board()
    going = Bar("going", "n1", "NoOp", 0.0, 500.0, 0.0, None, "running")
    by_seq = {n: module._kept(b"", (BARS[2 * n], BARS[2 * n + 1])) for n in range(200)}
    looked_at._kept = {**by_seq, 200: module._kept(b"", (going,)), 201: module._kept(b"", ())}
    found = looked_at.between(5000.0, 7000.0)
    assert {bar.task for bar in found} == {"5", "6", "going"}
    assert len(looked_at.between(-module.math.inf, module.math.inf)) == 401
