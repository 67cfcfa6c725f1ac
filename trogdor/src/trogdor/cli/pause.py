"""``trogdor pause``: stops processes for a while."""

from typing import Annotated, Any

import typer

from trogdor.cli import matching
from trogdor.cli.verb import verb

PAUSE = "trogdor.fault.ProcessPauseFaultSpec"


@verb("pause")
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
    tree: Annotated[bool, typer.Option("--tree", help="Their descendants too.")] = False,
    most: matching.Most = None,
) -> dict[str, Any]:
    """Stops processes (SIGSTOP) for a while; then they go on (SIGCONT).

    trogdor pause n1 --name etcd --for 10s

    trogdor pause leader --resolve etcd --for 5s

    trogdor pause leader --resolve kafka --option topic=orders --for 5s

    With --resolve the nodes are found out just before the start, and the process is the system's own unless named.
    A process must meet every option given. One that appears meanwhile and does is stopped too.
    Processes that were stopped before stay stopped.
    """
    match = {"name": name, "pattern": pattern, "pidFile": pid_file, "user": user, "javaMain": java}
    spec: dict[str, Any] = {"class": PAUSE, **matching.processes_of(nodes, resolve, most, **match)}
    if tree:
        spec["tree"] = True
    return matching.resolved(spec, resolve, nodes, with_option)
