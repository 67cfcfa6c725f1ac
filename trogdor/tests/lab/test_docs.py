"""What the docs show works: console blocks marked ``<!-- run -->`` are run in a lab, and print what they say.

In a block, ``$`` starts a command and ``>`` goes on with it; the lines below are what it prints, where ``…`` stands for
anything, and a line of ``…`` alone for any lines. ``# exit 3`` after a command is the exit code wanted.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import trogdor
from trogdor.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("docs")]

REPOSITORY = Path(__file__).parents[3]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
BLOCK = re.compile(r"<!-- run -->\n```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass
class Command:
    """One command of a block, and what it should print."""

    line: str
    code: int = 0
    printed: list[str] = field(default_factory=list)


def commands_of(block: str) -> list[Command]:
    found: list[Command] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            typed, _, code = line[2:].partition("  # exit ")
            found.append(Command(typed, int(code or 0)))
        elif line.startswith("> ") and not found[-1].printed:
            found[-1].line += "\n" + line[2:]
        else:
            found[-1].printed.append(line)
    return found


def pattern_of(lines: list[str]) -> str:
    def one(line: str) -> str:
        return r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + r"\n"

    return "".join(map(one, lines))


BLOCKS = [(page, block) for page in PAGES if page.exists() for block in BLOCK.findall(page.read_text())]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a user's shell beside a lab of three nodes with daemons."""
    programs = tmp_path_factory.mktemp("bin")
    source = Path(trogdor.__file__).parents[1]
    command = f'PYTHONPATH={shlex.quote(str(source))} exec {shlex.quote(sys.executable)} -m trogdor "$@"'
    (programs / "trogdor").write_text(f"#!/bin/sh\n{command}\n")
    (programs / "trogdor").chmod(0o755)
    with Lab(nodes=3) as lab:
        lab.start_daemons()
        yield {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "TROGDOR": lab.target}
        lab.client().heal()


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[f"{page.name}-{at}" for at, (page, _) in enumerate(BLOCKS)])
def test_the_commands_of_a_page_print_what_it_says(
    page: Path, block: str, shell: dict[str, str], tmp_path: Path
) -> None:
    for command in commands_of(block):
        done = subprocess.run(
            command.line, shell=True, env=shell, cwd=tmp_path, capture_output=True, text=True, timeout=180
        )
        said = f"{page.name}: $ {command.line}\n{done.stdout}{done.stderr}"
        assert done.returncode == command.code, said
        wanted = pattern_of(command.printed)
        assert re.fullmatch(wanted, done.stdout + done.stderr), f"{said}\nwanted:\n" + "\n".join(command.printed)


def test_the_pages_have_blocks_to_run() -> None:
    assert len(BLOCKS) >= 5


def test_a_block_is_read_as_it_is_written() -> None:
    command, other = commands_of("$ cat <<x\n> a\n> x\na\n$ false  # exit 1\n")
    assert (command.line, command.printed) == ("cat <<x\na\nx", ["a"])
    assert (other.line, other.code, other.printed) == ("false", 1, [])
    assert re.fullmatch(pattern_of(["a … c", "…"]), "a b c\nx\ny\n")
    assert not re.fullmatch(pattern_of(["a"]), "a\nb\n")
    assert not re.fullmatch(pattern_of([]), "a\n")
