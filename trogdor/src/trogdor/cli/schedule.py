"""``trogdor schedule``: faults drawn by a seed, shown or run."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trogdor.cli.commands import plain_app
from trogdor.cli.duration import parse_duration_ms, say_duration
from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.output import on_terminal, print_json, print_table
from trogdor.cli.target import Target, coordinator

if TYPE_CHECKING:
    from trogdor.client import Client, Task
    from trogdor.hunt.check import Check
    from trogdor.hunt.run import Outcome
    from trogdor.spec.schedule import FixedScheduleSpec, RandomScheduleSpec
    from trogdor.topology import Topology

app = plain_app(no_args_is_help=True, help="Faults drawn by a seed: shows them, or runs them.")

FileArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="A schedule: JSON or YAML; or JSON itself; or - for standard input.")
]
Seed = Annotated[int | None, typer.Option("--seed", help="Another seed than the file's.")]
Config = Annotated[
    Path | None, typer.Option("-c", "--config", metavar="FILE", help="The nodes, from a coordinator's configuration.")
]
Nodes = Annotated[
    str | None,
    typer.Option("--nodes", metavar="NODES", help="The nodes: n1,n2,n3; or how many: 5. Else the coordinator's."),
]
CheckCommand = Annotated[
    str | None,
    typer.Option("--check", metavar="COMMAND", help="A shell command that says whether all is well: exit 0."),
]
CheckFunction = Annotated[
    str | None,
    typer.Option(
        "--check-function", metavar="MODULE:FUNCTION", help="A Python function instead: an exception is a failure."
    ),
]
CheckTimeout = Annotated[
    str, typer.Option("--check-timeout", metavar="DURATION", help="A check command that takes longer has failed.")
]
Every = Annotated[
    str | None, typer.Option("--every", metavar="DURATION", help="Check so often during the faults too.")
]  # fmt: skip

MAX_ROWS = 200


@app.command()
def show(
    *,
    file: FileArgument,
    seed: Seed = None,
    config: Config = None,
    nodes: Nodes = None,
    target: Target = None,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Draw it into an SVG file.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the drawn tasks; `trogdor replay` takes them.")
    ] = False,
) -> None:
    """Prints and draws what a schedule will do. Nothing is run.

    trogdor schedule show soak.yaml --nodes 5

    trogdor schedule show soak.yaml -c cluster.json --seed 17 --json >seed17.json
    """
    from trogdor.timeline.collect import of_schedule
    from trogdor.timeline.svg import draw

    spec = read_schedule(file, seed)
    topology = topology_for(config, nodes, target)
    drawn = drawn_tasks(spec, topology)
    if svg is not None:
        svg.write_text(draw(of_schedule(drawn, topology)))
    if as_json:
        print_json(drawn.to_json())
        return
    print(headline(drawn))
    _print_tasks(drawn)
    _print_drawing(drawn, topology)


@app.command()
def run(
    *,
    file: FileArgument,
    seed: Seed = None,
    check: CheckCommand = None,
    check_function: CheckFunction = None,
    check_timeout: CheckTimeout = "60s",
    every: Every = None,
    task_id: Annotated[str | None, typer.Option("--id", metavar="ID", help="The task's id.")] = None,
    target: Target = None,
) -> None:
    """Runs a schedule in the foreground; Ctrl-C ends all its faults.

    trogdor schedule run soak.yaml --check './invariants.sh' --every 5s

    The check is run during the faults (--every) and after them; if it fails, all faults end at once and the timeline
    gets a mark. Exit code: 0 passed, 1 the check failed, 3 a fault did not take.
    """
    spec = read_schedule(file, seed)
    checked = the_check(check, check_function, check_timeout)
    with coordinator(target) as client:
        run_and_tell(client, spec, checked, every_ms(every), task_id or new_id("schedule"))


def read_schedule(argument: str, seed: int | None = None) -> "RandomScheduleSpec | FixedScheduleSpec":
    """The schedule that an argument holds or names. Raises Failure with every problem."""
    from pydantic import ValidationError

    from trogdor.cli.document import read_document
    from trogdor.spec import UnknownSpecClass, parse
    from trogdor.spec.problems import problems_in, shown
    from trogdor.spec.schedule import FixedScheduleSpec, RandomScheduleSpec

    try:
        document = read_document(argument)
        if seed is not None:
            document = {**document, "seed": seed}
        spec = parse(document)
    except ValidationError as error:
        lines = [f"{shown(path)}: {message}" for path, message in problems_in(error)]
        raise Failure(ExitCode.BAD_USAGE, f"{argument}:\n  " + "\n  ".join(lines)) from None
    except (ValueError, UnknownSpecClass) as error:
        raise Failure(ExitCode.BAD_USAGE, str(error)) from None
    if not isinstance(spec, RandomScheduleSpec | FixedScheduleSpec):
        raise Failure(ExitCode.BAD_USAGE, f"{spec.class_name} is no schedule; `trogdor run` runs it")
    if seed is not None and isinstance(spec, FixedScheduleSpec):
        raise Failure(ExitCode.BAD_USAGE, "--seed: the tasks of this schedule are drawn already")
    return spec


def topology_for(config: Path | None, nodes: str | None, target: str | None) -> "Topology":
    """The nodes that the command line names, else the coordinator's. Raises Failure."""
    from trogdor.timeline.collect import topology_of_names
    from trogdor.topology import TopologyError, read_topology

    if config is not None:
        try:
            return read_topology(config)
        except (OSError, TopologyError) as error:
            raise Failure(ExitCode.BAD_USAGE, str(error)) from None
    if nodes is not None:
        names = [f"n{number}" for number in range(1, int(nodes) + 1)] if nodes.isdecimal() else nodes.split(",")
        return topology_of_names(names)
    with coordinator(target) as client:
        return coordinators_topology(client)


def coordinators_topology(client: "Client") -> "Topology":
    """The nodes as the coordinator knows them."""
    from trogdor.topology import Node, Topology

    known = client.nodes()
    return Topology(
        {name: Node(name, agent_port=1, tags=frozenset(entry.get("tags", ()))) for name, entry in known.items()}
    )


def drawn_tasks(spec: "RandomScheduleSpec | FixedScheduleSpec", topology: "Topology") -> "FixedScheduleSpec":
    """The tasks of a schedule, drawn if need be. Raises Failure when it cannot be drawn from these nodes."""
    from trogdor.compose.schedule import fixed
    from trogdor.spec import SpecError
    from trogdor.spec.schedule import FixedScheduleSpec

    try:
        if isinstance(spec, FixedScheduleSpec):
            spec.check(topology)
            return spec
        return fixed(spec, topology)
    except SpecError as error:
        raise Failure(ExitCode.BAD_USAGE, str(error).replace("; ", "\n  ")) from None


def headline(spec: "RandomScheduleSpec | FixedScheduleSpec") -> str:
    """What every output on a schedule starts with: its seed and format version."""
    from trogdor.spec.schedule import FixedScheduleSpec, drawn_by

    tasks = f", {len(spec.tasks)} tasks" if isinstance(spec, FixedScheduleSpec) else ""
    return f"schedule: {drawn_by(spec)}{tasks} in {say_duration(spec.duration_ms)}"


def _print_tasks(drawn: "FixedScheduleSpec") -> None:
    from trogdor.timeline.collect import detail_of, what_of
    from trogdor.timeline.layout import say_offset

    tasks = sorted(drawn.tasks, key=lambda task: task.at_ms)
    rows = [
        (say_offset(task.at_ms, 1), say_duration(task.duration_ms), what_of(task.spec), _cut(detail_of(task.spec)))
        for task in tasks[:MAX_ROWS]
    ]
    print_table(("AT", "FOR", "WHAT", "DETAILS"), rows, "no faults")
    if len(tasks) > MAX_ROWS:
        print(f"… and {len(tasks) - MAX_ROWS} more; --json prints all")


def _cut(text: str, room: int = 100) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def _print_drawing(drawn: "FixedScheduleSpec", topology: "Topology") -> None:
    import shutil

    from trogdor.timeline.collect import of_schedule
    from trogdor.timeline.text import draw_text

    width = shutil.get_terminal_size((100, 24)).columns if on_terminal() else 100
    print()
    print("\n".join(draw_text(of_schedule(drawn, topology), width)))


def the_check(command: str | None, function: str | None, timeout: str) -> "Check":
    """The check that the command line asks for. Raises Failure."""
    from trogdor.hunt.check import command_check, function_check, nothing

    if command is not None and function is not None:
        raise Failure(ExitCode.BAD_USAGE, "--check and --check-function: give one of them")
    try:
        if function is not None:
            return function_check(function)
        return nothing if command is None else command_check(command, parse_duration_ms(timeout) / 1000)
    except ValueError as error:
        raise Failure(ExitCode.BAD_USAGE, str(error)) from None


def every_ms(text: str | None) -> int:
    """``--every`` in ms; 0: only after the faults. Raises Failure."""
    try:
        return 0 if text is None else parse_duration_ms(text)
    except ValueError as error:
        raise Failure(ExitCode.BAD_USAGE, f"--every: {error}") from None


def new_id(word: str) -> str:
    """A task's id that nobody else has."""
    import secrets

    return f"{word}-{secrets.token_hex(3)}"


def run_and_tell(
    client: "Client", spec: "RandomScheduleSpec | FixedScheduleSpec", check: "Check", every: int, task_id: str
) -> None:
    """Runs a schedule under a lease, says what happens, and ends with the exit code. Raises Failure, SystemExit."""
    from trogdor.cli.foreground import checked_nodes, signals_interrupt
    from trogdor.hunt.run import run_schedule

    document = spec.to_json()
    print(headline(spec), flush=True)
    checked_nodes(client, task_id, document)
    teller = Teller(coordinators_topology(client))
    try:
        with signals_interrupt(), client.lease() as lease:
            outcome = run_schedule(
                client, task_id, document, check=check, every_ms=every, lease=lease, seen=teller.tell
            )
    except KeyboardInterrupt:
        raise Failure(ExitCode.INTERRUPTED, f"{task_id}: interrupted; its faults have ended") from None
    conclude(outcome)


def conclude(outcome: "Outcome") -> None:
    """Prints how a run ended, and exits. Raises Failure."""
    if outcome.result == "passed":
        print(f"{outcome.task_id}: passed")
        return
    code = ExitCode.CHECK_FAILED if outcome.result == "failed" else ExitCode.NOT_TAKEN
    word = "the check failed" if outcome.result == "failed" else "a fault did not take"
    raise Failure(code, f"{outcome.task_id}: {word}: {outcome.why}\n  `trogdor report {outcome.task_id}` shows it all")


class Teller:
    """Says what becomes of a schedule's faults, a line each."""

    def __init__(self, topology: "Topology") -> None:
        self._topology = topology
        self._said: set[tuple[str, str, str]] = set()

    def tell(self, task: "Task") -> None:
        """Says what is new in a task."""
        from trogdor.timeline.collect import of_tasks

        tasks: Mapping[str, Any] = {"": task}
        for bar in of_tasks(tasks, [], self._topology).bars:
            known = (bar.task, bar.node, bar.outcome)
            if bar.outcome in ("planned", "armed") or known in self._said:
                continue
            self._said.add(known)
            late = "" if bar.start_ms is None else f" ({bar.start_ms - bar.asked_start_ms:+.1f} ms)"
            note = f": {bar.note}" if bar.note else ""
            print(f"  {bar.task}  {bar.what} on {bar.node}: {bar.outcome}{late}{note}", flush=True)
