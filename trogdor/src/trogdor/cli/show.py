"""``trogdor ls``, ``nodes`` and ``mark``: what a coordinator knows, and what is added to its events."""

import enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trogdor.cli.duration import now_ms, say_duration
from trogdor.cli.output import bad, clock, doubtful, good, print_json, print_table
from trogdor.cli.safety import say_frozen
from trogdor.cli.target import Target, coordinator

if TYPE_CHECKING:
    from trogdor.client import Task

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class State(enum.StrEnum):
    """The states of a task."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"


def ls(
    *,
    target: Target = None,
    state: Annotated[State | None, typer.Option("--state", help="Only tasks in this state.")] = None,
    as_json: AsJson = False,
) -> None:
    """Lists the tasks, latest first: what each is, when, and how it ended."""
    with coordinator(target) as client:
        tasks = client.tasks(state=state.name if state else None)
        now = {} if as_json else client.faults()
    if as_json:
        print_json(tasks)
        return
    latest_first = sorted(tasks.items(), key=lambda entry: -int(entry[1]["spec"].get("startMs", 0)))
    print_table(
        ("ID", "WHAT", "STATE", "START", "FOR", "OUTCOME"),
        [_task_row(task_id, task) for task_id, task in latest_first],
        "no tasks",
    )
    if frozen := say_frozen(bool(now.get("frozen")), now.get("frozenNodes", ())):
        print(doubtful(frozen))


def _task_row(task_id: str, task: "Task") -> tuple[str, ...]:
    spec = task["spec"]
    name = str(spec["class"]).rpartition(".")[2].removesuffix("Spec")
    return (
        task_id,
        name,
        task["state"].lower(),
        clock(spec["startMs"]),
        say_duration(spec["durationMs"]),
        _outcome(task),
    )


def _outcome(task: "Task") -> str:
    if task.get("error"):
        return bad(str(task["error"]).partition("\n")[0][:120])
    if task["state"] != "DONE":
        return ""
    verdicts = _verdicts(task.get("status"))
    doubts = sorted({verdict for verdict in verdicts if verdict != "seen"})
    if doubts:
        return doubtful("; ".join(doubts)[:120])
    return "stopped" if task.get("cancelled") else good("seen, healed" if verdicts else "done")


def _verdicts(status: Any) -> list[str]:
    """Every verdict in a task's status: of one node, of many, of a composite's children."""
    if not isinstance(status, dict):
        return []
    if isinstance(status.get("verdict"), str):
        return [status["verdict"]]
    return [verdict for value in status.values() for verdict in _verdicts(value)]


def nodes(*, target: Target = None, as_json: AsJson = False) -> None:
    """Lists the nodes: whether each is up, whose agent it has, and how its clock stands to the coordinator's."""
    with coordinator(target) as client:
        known = client.nodes()
    if as_json:
        print_json(known)
        return
    print_table(("NODE", "UP", "AGENT", "LAST SEEN", "CLOCK"), [_node_row(*entry) for entry in sorted(known.items())])


def _node_row(name: str, node: dict[str, Any]) -> tuple[str, ...]:
    seen_ms, offset_ms, uncertainty_ms = (node.get(key) for key in ("lastSeenMs", "offsetMs", "uncertaintyMs"))
    seen = "never" if not seen_ms else f"{say_duration(max(0, now_ms() - seen_ms))} ago"
    offset = "" if offset_ms is None else f"{offset_ms:+.1f} ms"
    if offset and uncertainty_ms is not None:
        offset += f" ± {uncertainty_ms:.1f}"
    return name, good("up") if node.get("up") else bad("down"), str(node.get("kind", "")), seen, offset


def mark(text: Annotated[str, typer.Argument(help="What happened, in your words.")], *, target: Target = None) -> None:
    """Writes a mark of your own into the events, such as "load test started"."""
    with coordinator(target) as client:
        client.mark(text)
    print("marked")
