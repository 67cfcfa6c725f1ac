"""The user's check: exit codes, exceptions, and what does not end."""

import os
import time
from pathlib import Path

import pytest

from trogdor.hunt.check import callable_check, command_check, function_check


def test_a_command_passes_by_its_exit_code_and_fails_with_its_last_words() -> None:
    assert command_check("true")().ok
    verdict = command_check("echo starting; echo lost write 17 >&2; exit 3")()
    assert not verdict.ok
    assert verdict.why == "exit code 3: starting / lost write 17"


def test_a_command_that_does_not_end_is_ended_with_all_it_began(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    verdict = command_check(f"sleep 600 & echo $! > {pid_file}; wait", timeout_s=1)()
    assert not verdict.ok
    assert "no answer within 1 s" in verdict.why
    deadline = time.monotonic() + 20
    while _lives(int(pid_file.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(int(pid_file.read_text()))


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z" and os.path.exists(f"/proc/{pid}")


def test_a_function_fails_by_an_exception_or_by_false() -> None:
    def raises() -> None:
        raise AssertionError("read 2, wrote 3")

    assert callable_check(lambda: None)().ok
    assert callable_check(raises)().why == "AssertionError: read 2, wrote 3"
    assert not callable_check(lambda: False)().ok


def test_a_function_is_found_by_its_name() -> None:
    assert function_check("os:getcwd")().ok
    for wrong in ("os", "os:no_such", "no_such_module:f"):
        with pytest.raises(ValueError, match=wrong):
            function_check(wrong)
