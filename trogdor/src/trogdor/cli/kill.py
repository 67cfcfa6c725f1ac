"""``trogdor kill``: kills processes, and has them started again."""

import shlex
from typing import Annotated, Any

import typer

from trogdor.cli import matching
from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.verb import verb

KILL = "trogdor.fault.ProcessKillFaultSpec"


@verb("kill")
def command(
    *,
    nodes: matching.Nodes,
    resolve: matching.Resolve = None,
    with_option: matching.WithOption = None,
    name: matching.Name = None,
    pattern: matching.Pattern = None,
    pid_file: matching.PidFile = None,
    user: matching.User = None,
    java: matching.Java = None,
    signal: Annotated[str | None, typer.Option("--signal", help="KILL if unset; TERM, INT, QUIT, ABRT, SEGV.")] = None,
    restart_with: Annotated[
        str | None, typer.Option("--restart-with", metavar="COMMAND", help="What starts it again, run on the node.")
    ] = None,
    no_restart: Annotated[bool, typer.Option("--no-restart", help="Leave starting it again to others.")] = False,
    most: matching.Most = None,
) -> dict[str, Any]:
    """Kills processes; after a while each is started again as it was.

    trogdor kill n1 --name etcd --for 10s

    trogdor kill leader --resolve kafka --option topic=orders --for 5s

    trogdor kill n1 --name postgres --for 10s --restart-with 'systemctl start postgresql'

    As it was: program, arguments, environment, directory, user, limits, and the files it wrote its output to.
    Where that cannot be had again the process is not killed, and the error says why.
    """
    if no_restart and restart_with:
        raise Failure(ExitCode.BAD_USAGE, "--no-restart and --restart-with: give one of them")
    match = {"name": name, "pattern": pattern, "pidFile": pid_file, "user": user, "javaMain": java}
    spec: dict[str, Any] = {"class": KILL, **matching.processes_of(nodes, resolve, most, **match)}
    if signal:
        spec["signal"] = signal.upper().removeprefix("SIG")
    if no_restart:
        spec["restart"] = "none"
    if restart_with:
        spec["restartCommand"] = shlex.split(restart_with)
    return matching.resolved(spec, resolve, nodes, with_option)
