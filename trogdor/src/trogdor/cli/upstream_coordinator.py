"""``trogdor client``: upstream's CoordinatorClient, word for word."""

import enum
import re
from typing import Annotated, Any

import typer

from trogdor.cli.commands import plain_app
from trogdor.cli.document import read_document
from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.upstream import (
    AsJson,
    SpecText,
    UpstreamGroup,
    compact_json,
    date_string,
    duration_string,
    grid,
    pretty_json,
    print_uptime,
    target_option,
)

app = plain_app(
    cls=UpstreamGroup,
    no_args_is_help=True,
    help="Upstream's coordinator client: its commands, its flags, its output, and its exit codes 0 and 1.",
)

Target = Annotated[str, target_option(8889)]


def task_id_option(what: str) -> Any:
    """The option ``--id``."""
    return typer.Option("--id", "-i", metavar="TASK_ID", help=what)


class TaskStateType(enum.StrEnum):
    """The states of a task."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    DONE = "DONE"


@app.command()
def uptime(target: Target, json: AsJson = False) -> None:
    """Get the coordinator uptime."""
    from trogdor.client import Client

    print_uptime("Coordinator", target, Client(target).uptime(), json)


@app.command()
def status(target: Target, json: AsJson = False) -> None:
    """Get the coordinator status."""
    from trogdor.client import Client

    answer = Client(target).status()
    if json:
        print(compact_json(answer))
        return
    print(f"Coordinator is running at {target}.")
    print(f"\tStart time: {date_string(answer['serverStartMs'])}")


@app.command("showTask")
def show_task(
    target: Target,
    task_id: Annotated[str, task_id_option("The task ID to show.")],
    json: AsJson = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print out everything.")] = False,
    show_status: Annotated[bool, typer.Option("--show-status", "-S", help="Show the task status.")] = False,
) -> None:
    """Show a coordinator task."""
    from trogdor.client import Client, NotFound

    try:
        task = Client(target).task(task_id)
    except NotFound:
        print(f"Task {task_id} was not found.")
        raise typer.Exit(1) from None
    if json:
        print(compact_json(task))
        return
    print(f"Task {task_id} of type {task['spec']['class']} is {task['state']}. {task_info(task)}")
    if task.get("error"):
        print(f"Error: {task['error']}")
    if verbose:
        print(f"Spec: {pretty_json(task['spec'])}\n")
    if verbose or show_status:
        print(f"Status: {pretty_json(task.get('status'))}\n")


@app.command("showTasks")
def show_tasks(
    target: Target,
    json: AsJson = False,
    task_ids: Annotated[
        list[str] | None,
        typer.Option("--id", "-i", metavar="TASK_IDS", help="Show only this task ID. May be given several times."),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option("--id-pattern", metavar="TASK_ID_PATTERN", help="Only tasks whose whole ID matches this pattern."),
    ] = None,
    state: Annotated[TaskStateType | None, typer.Option("--state", "-s", help="Show only tasks in this state.")] = None,
) -> None:
    """Show many coordinator tasks; by default all of them, but options can be given as filters."""
    from trogdor.client import Client

    if task_ids and pattern is not None:
        raise typer.BadParameter("not allowed with --id", param_hint="--id-pattern")
    tasks = Client(target).tasks(task_ids or (), state.value if state else None)
    if pattern is not None:
        matches = _id_pattern(pattern)
        tasks = {task_id: task for task_id, task in tasks.items() if matches.fullmatch(task_id)}
    if json:
        print(compact_json({"tasks": tasks} if tasks else {}))
    elif tasks:
        rows = [(task_id, task["spec"]["class"], task["state"], task_info(task)) for task_id, task in tasks.items()]
        print(grid([("ID", "TYPE", "STATE", "INFO"), *sorted(rows)]))
    else:
        print("No matching tasks found.")
    if not tasks:
        raise typer.Exit(1)


def _id_pattern(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        print(f"Invalid task ID regular expression {pattern}")
        raise Failure(ExitCode.CHECK_FAILED, str(error)) from None


@app.command("createTask")
def create_task(
    target: Target, task_id: Annotated[str, task_id_option("The task ID to create.")], spec: SpecText
) -> None:
    """Create a new task."""
    from trogdor.client import Client, Conflict

    try:
        Client(target).create_task(task_id, read_document(spec), check=False)
    except Conflict as error:
        print(
            f"CreateTaskRequest for task {task_id} got a 409 status code - "
            "a task with the same ID but a different specification already exists.\n"
            f"Exception: {error.problems[0].message}"
        )
        raise typer.Exit(1) from None
    print(f"Sent CreateTaskRequest for task {task_id}.")


@app.command("stopTask")
def stop_task(target: Target, task_id: Annotated[str, task_id_option("The task ID to stop.")]) -> None:
    """Stop a task."""
    from trogdor.client import Client

    Client(target).stop_task(task_id)
    print(f"Sent StopTaskRequest for task {task_id}.")


@app.command("destroyTask")
def destroy_task(target: Target, task_id: Annotated[str, task_id_option("The task ID to destroy.")]) -> None:
    """Destroy a task."""
    from trogdor.client import Client

    Client(target).destroy_task(task_id)
    print(f"Sent DestroyTaskRequest for task {task_id}.")


@app.command()
def shutdown(target: Target) -> None:
    """Shut down the coordinator."""
    from trogdor.client import Client

    Client(target).shutdown()
    print("Sent ShutdownRequest.")


def task_info(task: Any) -> str:
    """The INFO column of a task: when it started or will, and how it ended."""
    state, spec = task["state"], task["spec"]
    if state == "PENDING":
        return f"Will start at {date_string(spec['startMs'])}"
    started_ms = task["startedMs"]
    if state == "RUNNING":
        return f"Started {date_string(started_ms)}; will stop after {duration_string(spec['durationMs'])}"
    if state == "STOPPING":
        return f"Started {date_string(started_ms)}"
    outcome = "FAILED" if task.get("error") else "CANCELLED" if task.get("cancelled") else "FINISHED"
    return f"{outcome} at {date_string(task['doneMs'])} after {duration_string(task['doneMs'] - started_ms)}"
