"""The command line as a whole: what it lists, what it imports, how it fails."""

import os
import subprocess
import sys
from typing import Any

import pytest

from trogdor.cli import main as cli
from trogdor.cli import target
from trogdor.cli.exits import ExitCode, Failure
from unit.cli.support import Daemon, Run

COSTLY = ("trogdor.spec", "rich", "aiohttp", "starlette", "uvicorn", "psycopg", "confluent_kafka", "asyncio")


def trogdor(*args: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "trogdor", *args],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **env},
    )


@pytest.mark.parametrize("args", [["--help"], ["partition", "--help"]])
def test_help_imports_nothing_costly(args: list[str]) -> None:
    script = (
        "import sys\nfrom trogdor.cli.main import main\n"
        f"try: main({args!r})\nexcept SystemExit: pass\n"
        f"print([name for name in {COSTLY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1] == "[]"


def test_help_lists_every_command(run: Run) -> None:
    shown = run("--help").out
    for name in cli.LazyCommands():
        assert f"\n  {name} " in shown


def _all_commands(command: Any, path: str) -> list[tuple[str, Any]]:
    found = [(path, command)]
    for name, sub in getattr(command, "commands", {}).items():
        found += _all_commands(sub, f"{path} {name}")
    return found


@pytest.mark.parametrize("name", list(cli.LazyCommands()))
def test_every_command_and_option_says_what_it_is_for(name: str) -> None:
    for path, command in _all_commands(cli.LazyCommands()[name], name):
        assert command.help, f"{path} has no help"
        for parameter in command.params:
            assert getattr(parameter, "help", "") or parameter.hidden, f"{path}: {parameter.name} has no help"


def test_an_unknown_command_is_bad_usage(run: Run) -> None:
    done = run("spek")
    assert done.code == ExitCode.BAD_USAGE
    assert "No such command 'spek'. Did you mean 'spec'?" in done.err


def test_a_failure_is_one_line_and_its_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Failure(ExitCode.UNREACHABLE, "nobody there")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 5
    assert capsys.readouterr().err == "trogdor: nobody there\n"


def test_completion_asks_the_coordinator_and_is_silent_without_one(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.answers["GET /coordinator/nodes"] = (200, {"nodes": {"n1": {}, "n2": {}, "m1": {}}})
    tasks = {"t1": {"state": "RUNNING"}, "t2": {"state": "DONE"}}
    daemon.answers["GET /coordinator/tasks"] = (200, {"tasks": tasks})
    monkeypatch.setenv("TROGDOR", daemon.target)
    assert target.complete_node("n") == ["n1", "n2"]
    assert target.complete_task("") == ["t1"]
    monkeypatch.setenv("TROGDOR", "127.0.0.1:1")
    assert target.complete_node("") == target.complete_task("") == []


def test_completion_offers_commands_and_spec_names() -> None:
    commands = trogdor(_TROGDOR_COMPLETE="complete_bash", COMP_WORDS="trogdor sp", COMP_CWORD="1")
    assert commands.stdout.split() == ["spec"]
    specs = trogdor(_TROGDOR_COMPLETE="complete_bash", COMP_WORDS="trogdor spec show NetworkP", COMP_CWORD="3")
    assert specs.stdout.split() == ["NetworkPartitionFaultSpec"]
