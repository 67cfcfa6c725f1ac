"""``docs/commands.md``, made from the commands themselves: ``python -m trogdor.cli.reference > docs/commands.md``."""

import sys
from collections.abc import Iterator
from typing import Any

import typer.main

from trogdor.cli.commands import ENTRIES, app

WIDTH = 100

INTRODUCTION = """\
# Commands

Made from the commands' own `--help` by `make docs`; do not edit it by hand.

**Where to.** A command talks to the coordinator named by `-t`, else by `$TROGDOR`, else to that of the one lab that is
up: `HOST:PORT`, or `unix:PATH` for a daemon's Unix socket.

**How long.** Durations are written `500ms`, `30s`, `5m`, `1h30m`.

**Foreground.** A command that makes a task watches it until it is healed, and shows for each node what was asked and
what is seen. Ctrl-C heals, and waits for it. If the command is killed, its lease ends with it, and its faults within
5 s. `--detach` leaves the task to the coordinator.

**Exit codes.**

| code | meaning |
|---|---|
| 0 | it took, and is healed (`--detach`: it is in force) |
| 1 | the user's own check or command failed |
| 2 | bad usage or a bad spec; nothing was changed |
| 3 | the fault did not take |
| 4 | healed late, or something remained |
| 5 | a daemon does not answer |
| 6 | not possible here |
| 130 | interrupted, and healed |

`client` and `agent-client` know 0 and 1, as upstream's.

What a probe cannot see ends `unverified`, with the reason: that is said, and never called a success; it is no failure.
"""


def text() -> str:
    """The whole page."""
    return INTRODUCTION + "".join(_sections())


def _sections() -> Iterator[str]:
    root: Any = typer.main.get_command(app).make_context("trogdor", [], resilient_parsing=True, terminal_width=WIDTH)
    for section in dict.fromkeys(entry.section for entry in ENTRIES):
        yield f"\n## {section}\n"
        for entry in ENTRIES:
            if entry.section == section:
                yield from _command(root.command.commands[entry.name], entry.name, root, level=3)


def _command(command: Any, name: str, parent: Any, level: int) -> Iterator[str]:
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    lines = [line.rstrip() for line in command.get_help(context).splitlines()]
    yield f"\n{'#' * level} {context.command_path}\n\n```text\n" + "\n".join(lines).strip() + "\n```\n"
    for sub_name, sub in getattr(command, "commands", {}).items():
        yield from _command(sub, sub_name, context, level + 1)


if __name__ == "__main__":
    sys.stdout.write(text())
