"""What is drawn: a lane a node, a bar a fault, asked and actual, red where it did not take."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

from trogdor.timeline.layout import Layout, say_offset, tick_ms
from trogdor.timeline.model import Bar, Mark, Rate, Timeline
from trogdor.timeline.svg import LEFT, RIGHT, View, draw

WIDTH = LEFT + 1000 + RIGHT
SVG = "{http://www.w3.org/2000/svg}"


def bar(start_s: float, end_s: float, **fields: Any) -> Bar:
    return Bar(
        **{"task": "t", "node": "n1", "what": "CutLinks", **fields},
        asked_start_ms=start_s * 1000,
        asked_end_ms=end_s * 1000,
    )


def drawn(timeline: Timeline, **view: Any) -> ET.Element:
    """With a view of ten seconds and a thousand pixels: a hundred pixels a second."""
    return ET.fromstring(draw(timeline, View(**{"width": WIDTH, "begin_ms": 0, "end_ms": 10_000, **view})))


def of_class(root: ET.Element, word: str) -> list[ET.Element]:
    return [element for element in root.iter() if word in element.get("class", "").split()]


def edges(rect: ET.Element) -> tuple[float, float]:
    left = float(rect.get("x", "")) - LEFT
    return left, left + float(rect.get("width", ""))


def test_the_outline_is_what_was_asked_and_the_fill_what_was_seen() -> None:
    seen = replace(bar(1, 3), start_ms=1200.0, end_ms=3500.0, outcome="seen")
    root = drawn(Timeline(("n1",), (seen,)))
    assert edges(of_class(root, "asked")[0]) == (100, 300)
    assert edges(of_class(root, "actual")[0]) == (120, 350)
    assert not of_class(root, "bad")


def test_what_did_not_take_is_marked_by_more_than_a_colour_and_said_in_words() -> None:
    missed = replace(bar(1, 3), outcome="not seen", note="the peer still answered")
    (shown,) = of_class(drawn(Timeline(("n1",), (missed,))), "bad")
    assert "not seen; the peer still answered" in shown.get("aria-label", "")
    assert shown.findtext(f"{SVG}title") == shown.get("aria-label")


def test_what_goes_on_is_filled_up_to_now() -> None:
    going = replace(bar(1, 8), start_ms=1000.0, outcome="seen")
    root = drawn(Timeline(("n1",), (going,), now_ms=5000))
    assert edges(of_class(root, "actual")[0]) == (100, 500)
    assert edges(of_class(root, "asked")[0]) == (100, 800)


def test_every_node_has_a_lane_even_when_nothing_happens_there() -> None:
    lanes = [
        group.get("data-node") for group in drawn(Timeline(("n1", "n2"), (bar(1, 2),))).iter() if group.get("data-node")
    ]
    assert lanes == ["n1", "n2"]


def test_faults_that_overlap_do_not_cover_each_other() -> None:
    many = tuple(bar(start, start + 3, task=str(start)) for start in range(5))
    rects = of_class(drawn(Timeline(("n1",), many)), "asked")
    boxes = [(*edges(rect), float(rect.get("y", ""))) for rect in rects]
    assert len(boxes) == 5
    assert not [(a, b) for a in boxes for b in boxes if a < b and a[2] == b[2] and a[0] < b[1] and b[0] < a[1]]


def test_zooming_moves_no_bar_to_another_row() -> None:
    many = tuple(bar(start, start + 3, task=str(start)) for start in range(7))
    timeline = Timeline(("n1",), many)
    layout = Layout(timeline)

    def rows(begin_ms: float) -> dict[str, str]:
        root = ET.fromstring(draw(timeline, View(WIDTH, begin_ms, 10_000), layout))
        return {b.get("data-task", ""): b[1].get("y", "") for b in of_class(root, "bar")}

    whole, part = rows(0), rows(6000)
    assert set(part) == {"4", "5", "6"}
    assert part.items() <= whole.items()


def test_thousands_of_short_faults_stay_small_and_are_counted() -> None:
    many = tuple(bar(n / 1000, n / 1000 + 0.001, task=str(n)) for n in range(10_000))
    text = draw(Timeline(("n1",), many), View(WIDTH, 0, 10_000))
    assert len(text) < 50_000
    assert "n1: 10000 in view" in text


def test_thousands_of_faults_at_once_are_taken_together_and_the_longest_stand_alone() -> None:
    many = tuple(bar(n % 9, n % 9 + 1, task=str(n)) for n in range(10_000))
    long = tuple(bar(n, n + 3, task=f"long-{n}") for n in range(3))
    text = draw(Timeline(("n1",), many + long), View(WIDTH, 0, 10_000))
    assert {b.get("data-task") for b in of_class(ET.fromstring(text), "bar")} == {f"long-{n}" for n in range(3)}
    assert "n1: 10003 in view" in text
    assert len(text) < 50_000


def test_a_narrow_view_of_thousands_shows_each() -> None:
    many = tuple(bar(n / 1000, n / 1000 + 0.001, task=str(n)) for n in range(10_000))
    root = drawn(Timeline(("n1",), many), begin_ms=5000, end_ms=5010)
    assert {b.get("data-task") for b in of_class(root, "bar")} == {str(n) for n in range(5000, 5010)}


def test_marks_rates_and_now_are_where_they_happened() -> None:
    root = drawn(
        Timeline(
            ("n1",),
            (bar(1, 2),),
            marks=(Mark(2000, "deploy"), Mark(4000, "check failed: lost", bad=True)),
            rates=(Rate("produce", ((0, 10), (5000, 20), (10_000, 0))),),
            now_ms=9000,
        )
    )
    lines = {e.get("class"): float(e.get("x1", "")) - LEFT for e in root.iter(f"{SVG}line") if e.get("class") != "lane"}
    assert (lines["mark"], lines["mark bad"], lines["now"]) == (200, 400, 900)
    points = of_class(root, "rate")[0].get("points", "").split()
    assert [float(point.partition(",")[0]) - LEFT for point in points] == [0, 500, 1000]
    assert "at most 20 a second" in ET.tostring(root, "unicode")


def test_nothing_a_stranger_wrote_becomes_markup() -> None:
    evil = '"><script>alert(1)</script>'
    timeline = Timeline(
        (evil,), (bar(1, 9, node=evil, task=evil, what=evil, detail=evil, note=evil),), (Mark(5, evil),),
        (Rate(evil, ((0, 1), (1, 2))),), title=evil,
    )  # fmt: skip
    text = draw(timeline, View(WIDTH, 0, 10_000))
    assert "<script" not in text
    ET.fromstring(text)


def test_an_empty_timeline_can_be_drawn() -> None:
    ET.fromstring(draw(Timeline(())))
    ET.fromstring(draw(Timeline(("n1",), now_ms=5.0)))


def test_ticks_are_round_and_far_enough_apart() -> None:
    assert tick_ms(60_000, 1000) == 10_000
    assert tick_ms(100, 1000) == 10
    assert tick_ms(10**8, 1000) == 360 * 60_000
    assert [say_offset(ms, 1000) for ms in (0, 61_000, 3_600_000)] == ["0:00", "1:01", "1:00:00"]
    assert say_offset(1250, 50) == "0:01.250"


def test_words_of_marks_do_not_cover_each_other_and_what_went_wrong_is_named_first() -> None:
    marks = (Mark(5000, "deploy 42"), Mark(5010, "deploy 43"), Mark(5020, "check failed: lost", bad=True),
             Mark(9990, "at the edge"))  # fmt: skip
    root = drawn(Timeline(("n1",), (bar(1, 2),), marks=marks, now_ms=10_000))
    words = [e for e in root.iter(f"{SVG}text") if (e.get("class") or "").startswith("mark-text")]
    assert [(e.text, e.get("text-anchor")) for e in words] == [
        ("check failed: lost", "start"), ("deploy 42", "end"), ("at the edge", "end"),
    ]  # fmt: skip
    assert len([e for e in root.iter(f"{SVG}line") if (e.get("class") or "").startswith("mark")]) == 4


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_every_look_that_a_bar_can_have_is_explained() -> None:
    root = drawn(Timeline(("n1",), (bar(1, 2),)))
    assert texts(root)[:6] == ["planned", "fault, seen", "unverified", "did not take", "not a fault", "asked for"]
    narrow = drawn(Timeline(("n1",), (bar(1, 2),)), width=320)
    assert max(float(word.get("x", "")) for word in narrow.iter(f"{SVG}text")) < 320
    assert float(narrow.get("height", "")) > float(root.get("height", "")), "the key takes more rows where it is narrow"


def test_the_outline_of_what_was_stopped_ends_with_the_stop() -> None:
    stopped = replace(bar(1, 9), start_ms=1000.0, end_ms=4000.0, outcome="seen", stopped_ms=4010.0)
    root = drawn(Timeline(("n1",), (stopped, replace(stopped, task="u", asked_start_ms=4500, stopped_ms=4020.0))))
    assert [edges(rect) for rect in of_class(root, "asked")] == [(100, 401), (450, 451)]
    assert "asked for 8 s; late by 0.0 ms; took 3 s; stopped" in ET.tostring(root, "unicode")


def test_a_bars_words_never_cover_what_was_seen() -> None:
    """Within the fill, where they fit; else behind it."""
    short = replace(bar(1, 9), start_ms=1000.0, end_ms=1200.0, outcome="seen")
    long = replace(short, task="u", end_ms=8000.0)
    words = {each.get("x"): each.get("class") for each in drawn(Timeline(("n1",), (short, long))).iter(f"{SVG}text")
             if each.text == "CutLinks"}  # fmt: skip
    assert words == {f"{LEFT + 124}": "beyond", f"{LEFT + 104}": None}


def test_times_of_day_say_their_zone() -> None:
    assert "UTC" in texts(drawn(Timeline(("n1",))))
    assert "UTC" not in texts(drawn(Timeline(("n1",), relative=True)))
