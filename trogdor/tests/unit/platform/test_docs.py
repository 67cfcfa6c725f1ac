"""What the documentation says of faults is what the code declares."""

import re
from pathlib import Path

import pytest

from trogdor.platform.linux import PLATFORM
from trogdor.platform.nets import written

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs/writing-a-fault.md").read_text()


def test_the_table_of_nets_is_made_from_the_kinds() -> None:
    page = (ROOT / "docs/faults.md").read_text()
    assert written(page, PLATFORM) == page, "python -m trogdor.platform.nets docs/faults.md"


@pytest.mark.parametrize(("file", "text"), re.findall(r"`(examples/mtu/\S+)`:\n\n```\w+\n(.*?)```", PAGE, re.S))
def test_the_worked_example_is_the_code_that_runs(file: str, text: str) -> None:
    assert (ROOT / file).read_text().rstrip() == text.rstrip()


def test_the_worked_example_shows_all_its_files() -> None:
    shown = set(re.findall(r"`(examples/mtu/\S+)`:", PAGE))
    written_ = {str(path.relative_to(ROOT)) for path in (ROOT / "examples/mtu").rglob("*") if path.is_file()}
    assert {path for path in written_ if not path.endswith("__init__.py") and "__pycache__" not in path} == shown
