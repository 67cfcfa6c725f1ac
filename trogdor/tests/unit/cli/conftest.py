"""Fixtures of the tests of commands."""

import time
from collections.abc import Iterator

import pytest

from trogdor.cli.main import main
from unit.cli.support import Daemon, Result, Run, serving


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run("client", "status", …)`` runs a command in this process, to its end."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("TROGDOR", raising=False)
    time.tzset()

    def run_command(*args: str) -> Result:
        with pytest.raises(SystemExit) as ended:
            main(list(args))
        shown = capsys.readouterr()
        return Result(int(ended.value.code or 0), shown.out, shown.err)

    return run_command


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon on loopback that answers what the test tells it to."""
    with serving() as daemon:
        yield daemon
