"""Colours that can be read, light and dark: WCAG 2.2's contrast, 4.5 for text and 3 for what is drawn."""

import re
from importlib.resources import files

import pytest

from trogdor.timeline import report, svg

SHEETS = {
    "page": (files("trogdor.coordinator") / "static" / "page.css").read_text(),
    "timeline": svg.STYLE,
    "report": report.STYLE,
}
TEXT = {"fg", "soft", "bad", "good", "unsure", "accent"}
DRAWN = {"asked", "fault", "work", "rate", "unsure", "bad"}
WHITE_TEXT_ON = {"fault", "work", "accent"}


def colours(sheet: str, scheme: str) -> dict[str, str]:
    """Variable → colour, of the light scheme or the dark one."""
    light, dark = re.findall(r"\{((?:--[\w-]+:#\w+;?\s*)+)", sheet)[:2]
    return dict(re.findall(r"--([\w-]+):(#\w+)", light if scheme == "light" else dark))


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("sheet", SHEETS)
def test_what_is_written_and_drawn_stands_out(sheet: str, scheme: str) -> None:
    known = colours(SHEETS[sheet], scheme)
    faint = {name: contrast(known[name], known["bg"]) for name in TEXT & known.keys()}
    assert {name: ratio for name, ratio in faint.items() if ratio < 4.5} == {}
    if sheet == "timeline":
        faint = {name: contrast(known[name], known["bg"]) for name in DRAWN}
        assert {name: ratio for name, ratio in faint.items() if ratio < 3} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("sheet", ["page", "timeline"])
def test_words_on_a_filled_ground_can_be_read(sheet: str, scheme: str) -> None:
    known = colours(SHEETS[sheet], scheme)
    faint = {name: contrast(known.get("on", "#ffffff"), known[name]) for name in WHITE_TEXT_ON & known.keys()}
    assert {name: ratio for name, ratio in faint.items() if ratio < 4.5} == {}
