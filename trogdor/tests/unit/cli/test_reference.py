"""docs/commands.md says what the commands say."""

from pathlib import Path

from trogdor.cli import reference

PAGE = Path(__file__).parents[4] / "docs/commands.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == reference.text(), "docs/commands.md is not what --help says: run `make docs`"
