"""The drawing in characters, for terminals."""

from trogdor.timeline.model import Bar, Rate, Timeline
from trogdor.timeline.text import draw_text


def test_bars_stand_where_they_happen_and_what_overlaps_has_a_row_of_its_own() -> None:
    bars = (
        Bar("1", "n1", "CutLinks", 0, 5000),
        Bar("2", "n1", "CutLinks", 2500, 7500, outcome="not seen"),
        Bar("3", "n2", "X", 7500, 10_000, 7500, 10_000, "seen"),
    )
    axis, one, other, two = draw_text(Timeline(("n1", "n2"), bars, relative=True), width=44, end_ms=10_000)
    assert axis == "    0:00                0:05                    "[:44]
    assert one == "n1  " + "░CutLinks" + "░" * 11 + "·" * 20
    assert other == "    " + "·" * 10 + "XCutLinks" + "X" * 11 + "·" * 10
    assert two == "n2  " + "·" * 30 + "█X" + "█" * 8


def test_a_short_bar_is_one_character_and_a_narrow_one_has_no_label() -> None:
    bars = (Bar("1", "n1", "CutLinks", 0, 1), Bar("2", "n1", "CutLinks", 5000, 6000))
    (_, row) = draw_text(Timeline(("n1",), bars, relative=True), width=44, end_ms=10_000)
    assert row == "n1  ░" + "·" * 19 + "░░░░" + "·" * 16


def test_a_workload_is_a_line_below_with_its_latest_value_at_the_end() -> None:
    rate = Rate("load n2", tuple((second * 1000.0, 100.0 if second < 4 else 0.0) for second in range(9)))
    *_, line = draw_text(Timeline(("n1",), (), rates=(rate,), relative=True), width=49, end_ms=10_000)
    assert line.startswith("load n2   " + "▇" * 10)
    assert line.endswith("▁ 0 /s") or line.endswith(" 0 /s")
    assert "▁" in line
    assert len(line) == 49
