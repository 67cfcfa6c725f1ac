"""The user's check: a command, or a Python function."""

import importlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

DEFAULT_TIMEOUT_S = 60.0
SHOWN = 400
"""How much of a check's last words is shown."""


FAILED = "check failed: "
"""What marks, and the errors of tasks that a check has ended, begin with."""


@dataclass(frozen=True)
class Verdict:
    """What a check says."""

    ok: bool
    why: str = ""


Check = Callable[[], Verdict]


def nothing() -> Verdict:
    """The check of someone who has none."""
    return Verdict(True)


def command_check(command: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> Check:
    """A check that runs a shell command: exit code 0 is well, no end in time a failure."""

    def check() -> Verdict:
        code, words = run_command(command, timeout_s)
        if code is None:
            return Verdict(False, f"no answer within {timeout_s:g} s")
        return Verdict(code == 0, "" if code == 0 else f"exit code {code}" + (f": {words}" if words else ""))

    return check


def run_command(command: str, timeout_s: float) -> tuple[int | None, str]:
    """A shell command's exit code, None when it did not end in time, and its last words.

    Whatever it began is ended with it.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end_group(process)
        return code, last_words(output.fileno())


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_words(descriptor: int) -> str:
    """The end of what was written to a file, on one line."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    os.lseek(descriptor, max(0, size - 4 * SHOWN), os.SEEK_SET)
    text = os.read(descriptor, 4 * SHOWN).decode(errors="replace").strip()
    return " / ".join(text.splitlines())[-SHOWN:]


def function_check(name: str) -> Check:
    """A check that calls a Python function named ``module:function``: an exception is a failure, so is False.

    Raises ValueError when there is no such function.
    """
    module_name, colon, function_name = name.partition(":")
    if not colon:
        raise ValueError(f"{name!r}: write module:function")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{name}: {error}") from None
    return callable_check(function)


def callable_check(function: Callable[[], object]) -> Check:
    """A check that calls a function: an exception is a failure, so is False."""

    def check() -> Verdict:
        try:
            answer = function()
        except Exception as error:
            return Verdict(False, f"{type(error).__name__}: {error}"[:SHOWN])
        return Verdict(False, "it returned False") if answer is False else Verdict(True)

    return check
