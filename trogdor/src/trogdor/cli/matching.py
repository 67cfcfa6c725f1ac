"""How commands say which processes of which nodes are meant."""

from typing import Annotated, Any

import typer

from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.target import complete_node

TARGET = "trogdor.schedule.TargetSpec"

USUAL = {"etcd": {"name": "etcd"}, "kafka": {"javaMain": "kafka.Kafka"}, "postgresql": {"name": "postgres"}}
"""What a resolver's nodes run, where no other process is named."""

Nodes = Annotated[
    list[str], typer.Argument(metavar="NODE…", autocompletion=complete_node, help="The nodes that it runs on.")
]
Resolve = Annotated[
    str | None,
    typer.Option("--resolve", metavar="SYSTEM", help="NODE is a role: leader, controller, … of etcd, kafka, …"),
]
WithOption = Annotated[
    list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="What the resolver wants to know.")
]
Name = Annotated[str | None, typer.Option("--name", help="The program's file name, such as etcd.")]
Pattern = Annotated[str | None, typer.Option("--pattern", help="A regular expression found in the command line.")]
PidFile = Annotated[
    str | None, typer.Option("--pid-file", metavar="PATH", help="A file on the node that holds the process id.")
]
User = Annotated[str | None, typer.Option("--user", help="The name or number of the user it runs as.")]
Java = Annotated[
    str | None, typer.Option("--java", metavar="MAIN", help="The Java main class or jar, or its last word.")
]
Most = Annotated[
    int | None, typer.Option("--max-processes", min=1, max=1000, help="Refuse more matches than this; 16 if unset.")
]


def processes_of(
    nodes: list[str],
    resolve: str | None,
    most: int | None,
    **match: str | None,
) -> dict[str, Any]:
    """The fields of a spec that say which processes: ``nodeNames``, ``match``, ``maxProcesses``. Raises Failure."""
    given = {field: value for field, value in match.items() if value} or USUAL.get(resolve or "", {})
    if not given:
        why = f"--resolve {resolve}: what runs there is known of {', '.join(USUAL)} only; " if resolve else ""
        raise Failure(ExitCode.BAD_USAGE, f"{why}say which processes: --name, --pattern, --pid-file, --user or --java")
    fields: dict[str, Any] = {"nodeNames": "$nodes" if resolve else nodes, "match": given}
    return fields if most is None else {**fields, "maxProcesses": most}


def resolved(spec: dict[str, Any], system: str | None, roles: list[str], given: list[str] | None) -> dict[str, Any]:
    """The spec; with ``--resolve``, on the nodes that have a role, which the coordinator finds out. Raises Failure."""
    if not system:
        return spec
    if len(roles) != 1:
        raise Failure(ExitCode.BAD_USAGE, f"--resolve {system}: one role is wanted, such as leader")
    pairs = [each.partition("=") for each in given or []]
    if bad := [key for key, equals, _ in pairs if not equals]:
        raise Failure(ExitCode.BAD_USAGE, f"--option {bad[0]}: KEY=VALUE is wanted")
    found: dict[str, Any] = {"class": TARGET, "resolve": system, "role": roles[0], "spec": spec}
    return {**found, "options": {key: value for key, _, value in pairs}} if pairs else found
