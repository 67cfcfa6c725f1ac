"""``trogdor stop``, ``freeze`` and ``thaw``: ending tasks, and refusing new ones."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.foreground import HEAL_DEADLINE_S
from trogdor.cli.judge import judge, statuses_of
from trogdor.cli.output import print_json
from trogdor.cli.target import Target, agent, complete_node, complete_task, coordinator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trogdor.client import Client

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Nodes = Annotated[
    list[str] | None,
    typer.Argument(metavar="NODE", autocompletion=complete_node, help="Only these nodes; otherwise all."),
]
OneAgent = Annotated[
    str | None, typer.Option("--agent", metavar="TARGET", help="Only one agent: its HOST:PORT or unix:PATH.")
]


def stop(
    task_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", autocompletion=complete_task, help="The task to stop.")
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Stop every task.")] = False,
    target: Target = None,
    as_json: AsJson = False,
) -> None:
    """Stops a task, or all of them, and waits until it is healed. Exit code 4 when something remained."""
    if every == (task_id is not None):
        raise Failure(ExitCode.BAD_USAGE, "say which task to stop, or --all; `trogdor ls` lists them")
    with coordinator(target) as client:
        if task_id is None:
            report_healed(client.heal(), as_json)
            return
        if not _is_known(client, task_id):
            raise Failure(ExitCode.BAD_USAGE, _unknown_task(client, task_id))
        client.stop_task(task_id)
        task = client.wait_for_done(task_id, HEAL_DEADLINE_S)
    code, lines = judge(task, statuses_of(task))
    if as_json:
        print_json(task)
    if code is ExitCode.REMAINED:
        raise Failure(code, f"{task_id}: " + "\n  ".join(lines))
    if not as_json:
        print(f"{task_id} is stopped, and healed" if not task.get("error") else f"{task_id}: {task['error']}")


def _is_known(client: "Client", task_id: str) -> bool:
    from trogdor.client import NotFound

    try:
        client.task(task_id)
    except NotFound:
        return False
    return True


def _unknown_task(client: "Client", task_id: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(task_id, list(client.tasks()), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`trogdor ls` lists them."
    return f"there is no task {task_id}; {hint}"


def report_healed(answer: dict[str, Any], as_json: bool) -> None:
    """Prints what a coordinator answered to heal. Raises Failure when something remains."""
    if as_json:
        print_json(answer)
    remaining = answer.get("remaining") or {}
    if remaining:
        where = "\n".join(f"  task {task_id}: {' '.join(nodes)}" for task_id, nodes in remaining.items())
        raise Failure(
            ExitCode.REMAINED,
            f"not known to be healed on these nodes:\n{where}\n`trogdor heal --local` on each of them ends it.",
        )
    if not as_json:
        stopped = answer.get("stopped") or []
        print(f"healed: {' '.join(stopped)}" if stopped else "nothing was in force")


def freeze(nodes: Nodes = None, *, target: Target = None, one: OneAgent = None) -> None:
    """Refuses new faults from now on, also after a restart, until `trogdor thaw`. Running ones go on."""
    names = _names(nodes, one)
    with agent(one) if one else coordinator(target) as client:
        client.freeze(names)
        if names:
            print(say_frozen(False, names))
        else:
            print(f"frozen: {client.target} refuses new faults until `trogdor thaw`")


def thaw(nodes: Nodes = None, *, target: Target = None, one: OneAgent = None) -> None:
    """Allows faults again after `trogdor freeze`."""
    names = _names(nodes, one)
    with agent(one) if one else coordinator(target) as client:
        client.thaw(names)
        print(f"thawed: {' '.join(names) or client.target} accepts faults")


def _names(nodes: list[str] | None, one: str | None) -> list[str]:
    if nodes and one:
        raise Failure(ExitCode.BAD_USAGE, "name nodes, which the coordinator reaches, or one agent with --agent")
    return list(dict.fromkeys(nodes or ()))


def say_frozen(everywhere: bool, nodes: "Sequence[str]") -> str:
    """Who refuses new faults, in words; empty where nobody does."""
    lines = ["frozen: new faults are refused everywhere until `trogdor thaw`"] if everywhere else []
    if nodes:
        names = " ".join(nodes)
        lines.append(f"frozen: {names} refuse{'s' if len(nodes) == 1 else ''} new faults until `trogdor thaw {names}`")
    return "\n".join(lines)
