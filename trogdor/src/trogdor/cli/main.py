"""The ``trogdor`` command.

A daemon's options are read here where they are plain. All else, help and errors included, is typer's (``commands.py``),
whose import would be an eighth of the time until a daemon answers.
"""

import importlib
import os
import sys
from typing import Any

from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.quick import values_of

DAEMONS = ("agent", "coordinator")
COMPLETION = "_TROGDOR_COMPLETE"
"""Set by a shell that asks what may follow."""


def main(args: list[str] | None = None) -> None:
    """Runs the command line and exits. Every Failure becomes its message on standard error and its exit code."""
    words = sys.argv[1:] if args is None else args
    try:
        if not _run_daemon(words):
            from trogdor.cli.commands import app

            app(args=words, prog_name="trogdor")
    except Failure as failure:
        print(f"trogdor: {failure.message}", file=sys.stderr)
        sys.exit(int(failure.code))
    except KeyboardInterrupt:
        sys.exit(int(ExitCode.INTERRUPTED))


def _run_daemon(words: list[str]) -> bool:
    """Runs the daemon that the words name and exits; False where they are not plainly those of one."""
    if not words or words[0] not in DAEMONS or COMPLETION in os.environ:
        return False
    command: Any = importlib.import_module(f"trogdor.cli.{words[0]}").command
    values = values_of(command, words[1:])
    if values is not None:
        command(**values)
    return values is not None
