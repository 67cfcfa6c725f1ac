"""``trogdor doctor``: what this machine can do, and what is missing."""

import os
import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from trogdor.cli.exits import ExitCode
from trogdor.cli.output import bad, doubtful, good, print_json

if TYPE_CHECKING:
    from trogdor.cli.trials import Trial


def command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Tries each primitive that faults are made of, in a throwaway namespace, and names what is missing.

    It never touches this machine's own network, clock or processes. It ends with one line to paste, if anything can
    be mended. Exit code 6: something that most faults need is missing.
    """
    from trogdor.cli.trials import run_trials

    trials = run_trials()
    if as_json:
        print_json(
            {"kernel": platform.release(), "trials": [asdict(trial) for trial in trials], "paste": paste(trials)}
        )
    else:
        print(f"Linux {platform.release()}, Python {platform.python_version()}, uid {os.geteuid()}\n")
        width = max(len(trial.name) for trial in trials)
        for trial in trials:
            print(_line(trial, width))
        print(f"\n{conclusion(trials)}")
    if any(trial.needed and not trial.works for trial in trials):
        raise typer.Exit(int(ExitCode.IMPOSSIBLE))


def _line(trial: "Trial", width: int) -> str:
    word = good("works  ") if trial.works else bad("MISSING") if trial.needed else doubtful("missing")
    said = f" ({trial.said})" if trial.works and trial.said else f": {trial.said}" if trial.said else ""
    return f"  {word}  {trial.name.ljust(width)}  for {trial.used_for}{said}"


def paste(trials: "list[Trial]") -> str:
    """One line for a shell that mends what can be mended; empty when nothing can."""
    fixes = dict.fromkeys(trial.fix for trial in trials if trial.fix)
    packages = sorted({fix.rpartition(" ")[2] for fix in fixes if fix.startswith("apt-get install")})
    lines = [fix for fix in fixes if not fix.startswith("apt-get install")]
    if packages:
        lines.append(f"apt-get install -y {' '.join(packages)}")
    sudo = "" if os.geteuid() == 0 else "sudo "
    return " && ".join(sudo + line for line in lines)


def conclusion(trials: "list[Trial]") -> str:
    """The last line: what to paste, or that nothing needs to be."""
    line = paste(trials)
    if line:
        return f"To have what is missing:\n{line}"
    if all(trial.works for trial in trials):
        return "Nothing is missing."
    if any(trial.needed and not trial.works for trial in trials):
        return "What is missing cannot be had by a command: another kernel, or another container, is needed."
    return "All that is needed works."
