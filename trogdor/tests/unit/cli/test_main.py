"""The command line as a whole: what it lists, what it imports, how it fails."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trogdor.cli import commands, target
from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.main import main
from trogdor.cli.quick import for_typer, values_of
from unit.cli.support import Daemon, Run

COSTLY = ("trogdor.spec", "rich", "aiohttp", "httptools", "psycopg", "confluent_kafka", "asyncio")


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
    for name in commands.LazyCommands():
        assert f"\n  {name} " in shown


def _all_commands(command: Any, path: str) -> list[tuple[str, Any]]:
    found = [(path, command)]
    for name, sub in getattr(command, "commands", {}).items():
        found += _all_commands(sub, f"{path} {name}")
    return found


@pytest.mark.parametrize("name", list(commands.LazyCommands()))
def test_every_command_and_option_says_what_it_is_for(name: str) -> None:
    for path, command in _all_commands(commands.LazyCommands()[name], name):
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

    monkeypatch.setattr(commands, "app", fail)
    with pytest.raises(SystemExit) as ended:
        main([])
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
    offered = trogdor(_TROGDOR_COMPLETE="complete_bash", COMP_WORDS="trogdor sp", COMP_CWORD="1")
    assert offered.stdout.split() == ["spec"]
    specs = trogdor(_TROGDOR_COMPLETE="complete_bash", COMP_WORDS="trogdor spec show NetworkP", COMP_CWORD="3")
    assert specs.stdout.split() == ["NetworkPartitionFaultSpec"]


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["-c", "f", "-n", "n0"], {"config": Path("f"), "node": "n0"}),
        (["--coordinator.config=f", "--node-name", "n0", "-v", "--state", "s"],
         {"config": Path("f"), "node": "n0", "verbose": True, "state": Path("s")}),
        (["-c", "f", "-n", "n0", "--log-format", "json"], {"config": Path("f"), "node": "n0", "log_format": "json"}),
        ([], None),
        (["-c", "f"], None),
        (["-c", "f", "-n"], None),
        (["-c", "f", "-n", "-v"], None),
        (["-c", "f", "-n", "n0", "-h"], None),
        (["-c", "f", "-n", "n0", "--verbose=yes"], None),
        (["-c", "f", "-n", "n0", "more"], None),
    ],
)  # fmt: skip
def test_plain_options_of_a_daemon_are_read_without_typer(words: list[str], values: dict[str, Any] | None) -> None:
    spec = importlib.util.find_spec("trogdor.cli.coordinator")
    assert spec
    assert spec.loader
    anew = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(anew)
    assert values_of(anew.command, words) == values
    assert values_of(for_typer(anew.command), words) is None


def test_a_daemon_is_run_without_typer_and_what_is_wrong_is_said_by_it() -> None:
    script = (
        "import sys\nfrom trogdor.cli.main import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit as end: code = end.code\n"
        "print(code, 'typer' in sys.modules)"
    )
    shown = []
    for words in (["-c", "/no/such/file", "-n", "c"], ["--nope"]):
        command = [sys.executable, "-c", script, "coordinator", *words]
        shown.append(subprocess.run(command, capture_output=True, text=True, timeout=60))
    plain, wrong = shown
    assert plain.stdout.split() == ["2", "False"]
    assert plain.stderr == "trogdor: /no/such/file: No such file or directory\n"
    assert wrong.stdout.split() == ["2", "True"]
    assert "No such option: --nope" in wrong.stderr
