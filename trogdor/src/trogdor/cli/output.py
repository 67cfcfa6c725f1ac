"""What commands print: tables and colour on a terminal, plain text in a pipe, JSON for programs."""

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

_COLOUR = re.compile(r"\033\[\d*m")


def print_json(value: Any) -> None:
    """One JSON document, indented, for programs and for reading."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], empty: str = "") -> None:
    """Aligned columns; the header is bold on a terminal. ``empty`` is printed instead when there are no rows."""
    if not rows:
        print(empty)
        return
    widths = [max(visible_length(row[column]) for row in [header, *rows]) for column in range(len(header))]
    print(bold(aligned(header, widths)))
    for row in rows:
        print(aligned(row, widths))


def aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The cells padded to their widths, two spaces between, nothing trailing."""
    padded = [cell + " " * (width - visible_length(cell)) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join(padded).rstrip()


def visible_length(text: str) -> int:
    """How many columns ``text`` takes: its colours take none."""
    return len(_COLOUR.sub("", text))


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def coloured(text: str, code: str) -> str:
    """``text`` in an ANSI colour on a terminal, as it is elsewhere."""
    return f"\033[{code}m{text}\033[0m" if on_terminal() else text


def bold(text: str) -> str:
    """``text`` in bold on a terminal."""
    return coloured(text, "1")


def good(text: str) -> str:
    """``text`` in green on a terminal."""
    return coloured(text, "32")


def bad(text: str) -> str:
    """``text`` in red on a terminal."""
    return coloured(text, "31")


def doubtful(text: str) -> str:
    """``text`` in yellow on a terminal."""
    return coloured(text, "33")


def clock(at_ms: float) -> str:
    """The time of day in UTC with ms, as in ``05:14:03.207``; the date too where it is not today."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    form = "%H:%M:%S.%f" if at.date() == datetime.now(UTC).date() else "%Y-%m-%dT%H:%M:%S.%f"
    return at.strftime(form)[:-3]
