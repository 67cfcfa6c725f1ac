"""``trogdor pause``: stops processes for a while."""

from typing import Annotated, Any

import typer

from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.target import complete_node
from trogdor.cli.verb import verb

PAUSE = "trogdor.fault.ProcessPauseFaultSpec"
TARGET = "trogdor.schedule.TargetSpec"

USUAL = {"etcd": {"name": "etcd"}, "kafka": {"javaMain": "kafka.Kafka"}, "postgresql": {"name": "postgres"}}
"""What a resolver's nodes run, where no other process is named."""


@verb("pause")
def command(
    *,
    nodes: Annotated[
        list[str], typer.Argument(metavar="NODE…", autocompletion=complete_node, help="The nodes on which to stop it.")
    ],
    resolve: Annotated[
        str | None,
        typer.Option("--resolve", metavar="SYSTEM", help="NODE is a role: leader, controller, … of etcd, kafka, …"),
    ] = None,
    with_option: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="What the resolver wants to know.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The program's file name, such as etcd.")] = None,
    pattern: Annotated[
        str | None, typer.Option("--pattern", help="A regular expression found in the command line.")
    ] = None,
    pid_file: Annotated[
        str | None, typer.Option("--pid-file", metavar="PATH", help="A file on the node that holds the process id.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="The name or number of the user it runs as.")] = None,
    java: Annotated[
        str | None, typer.Option("--java", metavar="MAIN", help="The Java main class or jar, or its last word.")
    ] = None,
    tree: Annotated[bool, typer.Option("--tree", help="Their descendants too.")] = False,
    most: Annotated[
        int | None, typer.Option("--max-processes", min=1, max=1000, help="Refuse more matches than this; 16 if unset.")
    ] = None,
) -> dict[str, Any]:
    """Stops processes (SIGSTOP) for a while; then they go on (SIGCONT).

    trogdor pause n1 --name etcd --for 10s

    trogdor pause leader --resolve etcd --for 5s

    trogdor pause leader --resolve kafka --option topic=orders --for 5s

    With --resolve the nodes are found out just before the start, and the process is the system's own unless named.
    A process must meet every option given. One that appears meanwhile and does is stopped too.
    Processes that were stopped before stay stopped.
    """
    given = {"name": name, "pattern": pattern, "pidFile": pid_file, "user": user, "javaMain": java}
    match = {field: value for field, value in given.items() if value} or USUAL.get(resolve or "", {})
    if not match:
        raise Failure(ExitCode.BAD_USAGE, "say which processes: --name, --pattern, --pid-file, --user or --java")
    spec: dict[str, Any] = {"class": PAUSE, "nodeNames": "$nodes" if resolve else nodes, "match": match}
    if tree:
        spec["tree"] = True
    if most is not None:
        spec["maxProcesses"] = most
    return _resolved(resolve, nodes, with_option or [], spec) if resolve else spec


def _resolved(system: str, roles: list[str], given: list[str], spec: dict[str, Any]) -> dict[str, Any]:
    """The spec on the nodes that have a role, which the coordinator finds out."""
    if len(roles) != 1:
        raise Failure(ExitCode.BAD_USAGE, f"--resolve {system}: one role is wanted, such as leader")
    pairs = [each.partition("=") for each in given]
    if bad := [key for key, equals, _ in pairs if not equals]:
        raise Failure(ExitCode.BAD_USAGE, f"--option {bad[0]}: KEY=VALUE is wanted")
    found: dict[str, Any] = {"class": TARGET, "resolve": system, "role": roles[0], "spec": spec}
    if pairs:
        found["options"] = {key: value for key, _, value in pairs}
    return found
