"""``trogdor attach``: running processes and containers of this machine as nodes, for as long as the command runs."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.target import VARIABLE

if TYPE_CHECKING:
    from trogdor.attach import Attached


def command(
    *,
    run: Annotated[
        list[str] | None, typer.Argument(metavar="[-- CMD…]", help="Runs it with $TROGDOR set, and ends with it.")
    ] = None,
    containers: Annotated[
        list[str] | None, typer.Option("--container", metavar="NAME", help="A container, by name or id; repeatable.")
    ] = None,
    project: Annotated[
        str | None, typer.Option("--compose", metavar="PROJECT", help="Every container of a compose project.")
    ] = None,
    processes: Annotated[
        list[str] | None,
        typer.Option("--pid", metavar="[NODE=]PID", help="A process in namespaces of its own; repeatable."),
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", metavar="DIR", help="Where journals and logs are kept; else temporary.")
    ] = None,
    only_print: Annotated[
        bool, typer.Option("--print", help="Print the configuration, for daemons of your own, and do nothing.")
    ] = False,
) -> None:
    """Makes nodes of the namespaces of running processes and containers, served by one agent of this machine.

    trogdor attach --container kafka-1 --container kafka-2

    trogdor attach --compose shop -- trogdor partition kafka-1 / kafka-2 kafka-3 --for 10s

    Containers are found by the Docker Engine API ($DOCKER_HOST, or /var/run/docker.sock); nothing is installed in them.
    Nodes are named as containers, or as the project's services. Needs root. It ends on Ctrl-C, and every fault with it.
    """
    from trogdor.attach import AttachError, attached
    from trogdor.attach.places import configuration
    from trogdor.containers import EngineError
    from trogdor.topology import DEFAULT_AGENT_PORT, DEFAULT_COORDINATOR_PORT

    try:
        found = attached.find(containers or (), project, _pids(processes or ()))
        if only_print:
            print(json.dumps(configuration(found, DEFAULT_AGENT_PORT, DEFAULT_COORDINATOR_PORT), indent=2))
            return
        with attached.serve(found, state) as served:
            raise typer.Exit(_run(run, served) if run else _wait(served))
    except (AttachError, EngineError) as error:
        raise Failure(ExitCode.IMPOSSIBLE, str(error)) from None


def _pids(given: Sequence[str]) -> Mapping[str, int]:
    found, problems = {}, []
    for text in given:
        name, _, pid = text.rpartition("=")
        name = name or f"p{pid}"
        if not pid.isdecimal() or int(pid) == 0:
            problems.append(f"--pid {text}: [NODE=]PID is wanted, such as db=1234")
        elif name in found:
            problems.append(f"--pid {text}: there is a node {name} already")
        else:
            found[name] = int(pid)
    if problems:
        raise Failure(ExitCode.BAD_USAGE, "\n  ".join(problems))
    return found


def _run(command: Sequence[str], attached: "Attached") -> int:
    """The command's exit code. Signals are passed on to it."""
    try:
        child = subprocess.Popen(command, env={**os.environ, VARIABLE: attached.target})
    except OSError as error:
        raise Failure(ExitCode.BAD_USAGE, f"cannot run {command[0]}: {error.strerror}") from None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _frame: child.send_signal(got))
    code = child.wait()
    return code if code >= 0 else 128 - code


def _wait(attached: "Attached") -> int:
    """Until a signal comes."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    print(f"attached: {' '.join(attached.nodes)}\nexport {VARIABLE}={attached.target}", flush=True)
    signal.sigwait(numbers)
    print("ending every fault", file=sys.stderr)
    return ExitCode.INTERRUPTED
