"""``trogdor lab``: a cluster of nodes on this machine."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from trogdor.cli.commands import plain_app
from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.output import bold, coloured, on_terminal, print_json, print_table

if TYPE_CHECKING:
    from trogdor.lab import Lab

app = plain_app(
    no_args_is_help=True,
    help="A cluster of nodes on this machine, out of Linux namespaces: with root, or without.\n\n"
    "Each node has a name, addresses, a process tree and directories of its own; the nodes reach each "
    "other by name, and nothing else. The machine's own network is never touched.",
)

_PASS_ON = {"ignore_unknown_options": True}
_COLOURS = ("36", "33", "35", "32", "34", "31")

LabName = Annotated[str | None, typer.Option("--name", help="Which lab; the only one if absent.")]
NewName = Annotated[str | None, typer.Option("--name", help="The lab's name; lab1, lab2, … if absent.")]
Nodes = Annotated[int, typer.Argument(help="How many nodes, n1 … nN, beside the coordinator's.", min=1, max=250)]
Daemons = Annotated[bool, typer.Option("--daemons/--no-daemons", help="Start a coordinator and the nodes' agents.")]
Brokers = Annotated[int, typer.Option("--kafka", help="Run Kafka: a broker on each of so many nodes.", min=0, max=50)]
Ensemble = Annotated[
    int,
    typer.Option("--zookeeper", help="Run ZooKeeper on so many nodes more, and Kafka with it.", min=0, max=7),
]
State = Annotated[str | None, typer.Option("--state", help="Keep the nodes' files in this directory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _complete_nodes() -> list[str]:
    from trogdor.lab import runtime

    return sorted({node.name for plan in runtime.running().values() for node in plan.nodes})


def _complete_labs() -> list[str]:
    from trogdor.lab import runtime

    return list(runtime.running())


NodeName = Annotated[str, typer.Argument(help="A node: n1 … nN, or coordinator.", autocompletion=_complete_nodes)]


@contextmanager
def _told() -> Iterator[None]:
    """What a lab raises, as the command line says it."""
    from trogdor.lab import LabError, NodeGone
    from trogdor.lab.runtime import UnknownLab

    try:
        yield
    except UnknownLab as error:
        raise Failure(ExitCode.BAD_USAGE, str(error)) from None
    except LabError as error:
        raise Failure(ExitCode.IMPOSSIBLE, str(error)) from None
    except NodeGone as error:
        raise Failure(ExitCode.UNREACHABLE, str(error)) from None


def _exit_with(code: int) -> None:
    raise typer.Exit(code if code >= 0 else 128 - code)


@app.command()
def up(
    nodes: Nodes = 3,
    *,
    name: NewName = None,
    with_daemons: Daemons = True,
    kafka: Brokers = 0,
    zookeeper: Ensemble = 0,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Brings a lab up, to stay until `trogdor lab down`."""
    from trogdor.lab import Lab, runtime

    names = [f"n{number}" for number in range(1, max(nodes, kafka) + 1)]
    ensemble = [f"zk{number}" for number in range(1, zookeeper + 1)]
    with _told():
        began = time.monotonic()
        lab = Lab([*names, *ensemble], name=name or runtime.free_name(), state=state, owned=False)
        try:
            nodes_s = time.monotonic() - began
            if with_daemons:
                lab.start_daemons()
            daemons_s = time.monotonic() - began - nodes_s
            bootstrap = _start_servers(lab, names[:kafka], ensemble)
        except BaseException:
            lab.close()
            raise
        if as_json:
            print_json(lab.describe() | ({"kafka": bootstrap} if bootstrap else {}))
        else:
            _print_lab(lab, nodes_s, daemons_s if with_daemons else None)
            if bootstrap:
                print(f"Kafka is at {bootstrap} inside; everything of it is in each node's /mnt/kafka")


def _start_servers(lab: "Lab", brokers: list[str], ensemble: list[str]) -> str:
    """ZooKeeper and Kafka on these nodes, to run as long as the lab; Kafka's bootstrap servers."""
    if not brokers and not ensemble:
        return ""
    from trogdor.lab.recipes.kafka import Kafka
    from trogdor.lab.recipes.zookeeper import Zookeeper

    zookeeper = Zookeeper(lab, ensemble) if ensemble else None
    return Kafka(lab, brokers, zookeeper=zookeeper).bootstrap if brokers else ""


def _print_lab(lab: "Lab", nodes_s: float, daemons_s: float | None) -> None:
    print_table(
        ("node", "address", "address6", "its files"),
        [
            (node.name, node.address, node.address6, str(node.directory))
            for node in [*lab.nodes.values(), lab.coordinator]
        ],
    )
    daemons = f"; daemons in {daemons_s:.2f} s" if daemons_s is not None else ""
    print(f"\n{bold(lab.name)} is up: nodes in {nodes_s:.2f} s{daemons}")
    hints = ["trogdor lab shell n1", f"trogdor lab down {lab.name}"]
    if daemons_s is not None and len(lab.nodes) > 1:
        hints.insert(1, f"trogdor partition n1 / {' '.join(list(lab.nodes)[1:4])} --for 30s")
    print("try: " + "\n     ".join(hints))


@app.command("exec", context_settings=_PASS_ON)
def execute(
    node: NodeName,
    command: Annotated[list[str], typer.Argument(help="The program and its arguments.")],
    name: LabName = None,
) -> None:
    """Runs a program in a node; its exit code is this command's."""
    from trogdor.lab import Lab, attached

    with _told():
        found = Lab.attach(name).node(node)
        try:
            code = attached.run(found, command)
        except OSError as error:
            if error.filename is None:
                raise
            raise Failure(ExitCode.BAD_USAGE, f"cannot run {error.filename} in {node}: {error.strerror}") from None
    _exit_with(code)


@app.command()
def shell(node: NodeName, name: LabName = None) -> None:
    """Opens a shell in a node."""
    from trogdor.lab import Lab, attached

    with _told():
        found = Lab.attach(name).node(node)
        program = os.environ.get("SHELL", "/bin/sh")
        if sys.stdin.isatty():
            print(f"{node} of {name or 'the lab'}; `exit` leaves it", file=sys.stderr)
            code = attached.shell(found, [program, "-i"])
        else:
            code = attached.run(found, [program])
    _exit_with(code)


@app.command()
def ps(name: LabName = None, as_json: AsJson = False) -> None:
    """Lists a lab's nodes and the processes in them."""
    from trogdor.lab import Lab

    with _told():
        lab = Lab.attach(name)
        processes = {node.name: node.processes() for node in [*lab.nodes.values(), lab.coordinator]}
        if as_json:
            described = lab.describe()
            for node, found in processes.items():
                described["nodes"][node]["processes"] = [vars(process) for process in found]
            print_json(described)
            return
    rows = []
    for node, found in processes.items():
        address = lab.node(node).address
        rows += [(node, address, str(process.pid), process.state, process.command) for process in found] or [
            (node, address, "-", "-", "-")
        ]
    if on_terminal():
        room = shutil.get_terminal_size().columns - sum(
            max(len(row[column]) for row in rows) + 2 for column in range(4)
        )
        rows = [(*row[:4], row[4][: max(20, room)]) for row in rows]
    print_table(("node", "address", "pid", "state", "command"), rows)


@app.command("ls")
def list_labs(as_json: AsJson = False) -> None:
    """Lists the labs that are up."""
    from trogdor.lab import runtime

    with _told():
        running = runtime.running()
    if as_json:
        print_json(
            [{"name": plan.name, "nodes": len(plan.nodes) - 1, "state": plan.state} for plan in running.values()]
        )
        return
    rows = [(plan.name, str(len(plan.nodes) - 1), plan.state) for plan in running.values()]
    print_table(("lab", "nodes", "its files"), rows, empty="no lab is up; `trogdor lab up 3` starts one")


@app.command()
def logs(
    node: NodeName,
    log: Annotated[str | None, typer.Argument(help="Which log, such as agent; all if absent.")] = None,
    name: LabName = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is added.")] = False,
) -> None:
    """Prints a node's logs: /var/log/*.log."""
    from trogdor.lab import Lab
    from trogdor.lab.plan import LOG_DIRECTORY

    with _told():
        directory = Lab.attach(name).node(node).path(LOG_DIRECTORY)
    files = sorted(directory.glob("*.log"))
    if log is not None:
        there = [file.stem for file in files]
        if log not in there:
            raise Failure(ExitCode.BAD_USAGE, f"{node} has no log {log!r}; there are: {', '.join(there) or 'none'}")
        files = [directory / f"{log}.log"]
    read = dict.fromkeys(files, 0)
    last = None
    while True:
        for file in files:
            with open(file, errors="replace") as text:
                text.seek(read[file])
                added = text.read()
                read[file] = text.tell()
            if added and len(files) > 1 and file != last:
                print(bold(f"==> {file.stem}"))
            if added:
                last = file
                print(added, end="", flush=True)
        if not follow or not directory.exists():
            return
        try:
            time.sleep(0.2)
        except KeyboardInterrupt:
            return


@app.command()
def down(
    name: Annotated[
        str | None, typer.Argument(help="Which lab; the only one if absent.", autocompletion=_complete_labs)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every lab of yours.")] = False,
) -> None:
    """Ends a lab: every process in it, its network, and its files unless --state keeps them."""
    from trogdor.lab import Lab, runtime

    with _told():
        for each in runtime.running() if every else [name]:
            lab = Lab.attach(each)
            lab.close()
            print(f"{lab.name} is down")


@app.command("run", context_settings=_PASS_ON)
def run_on_all(
    nodes: Nodes,
    command: Annotated[list[str], typer.Argument(help="The program and its arguments.")],
    name: NewName = None,
    with_daemons: Daemons = True,
    state: State = None,
) -> None:
    """Runs your own program on each node of a new lab, and takes all down when it ends.

    NODE is set to the node's name, PEERS to the others' with commas between, DATA_DIR to a directory of the
    node's own. Meanwhile faults can be injected from another terminal. Exit code 1 if the program failed on
    any node.
    """
    from trogdor.lab import Lab, attached, runtime

    width = len(f"n{nodes}")

    def say(node: str, line: str) -> None:
        colour = _COLOURS[int(node[1:]) % len(_COLOURS)]
        sys.stdout.write(coloured(f"{node:{width}} | ", colour) + line + "\n")  # whole lines, from many threads
        sys.stdout.flush()

    with _told(), Lab(nodes, name=name or runtime.free_name(), state=state) as lab:
        if with_daemons:
            lab.start_daemons()
            print(f"{lab.name} is up: {lab.target}", file=sys.stderr)
        try:
            codes = attached.run_everywhere(lab, command, say)
        except KeyboardInterrupt:
            print(f"interrupted; {lab.name} is taken down", file=sys.stderr)
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except FileNotFoundError as error:
            raise Failure(ExitCode.BAD_USAGE, f"cannot run {error.filename}: {error.strerror}") from None
    failed = {node: code for node, code in codes.items() if code}
    if failed:
        said = ", ".join(f"{node} with {code}" for node, code in failed.items())
        raise Failure(ExitCode.CHECK_FAILED, f"the program failed: on {said}")


@app.command("ducktape", context_settings=_PASS_ON)
def run_ducktape(
    arguments: Annotated[list[str], typer.Argument(help="Test files or directories, and ducktape's own options.")],
    nodes: Annotated[int, typer.Option(help="How many nodes.", min=1, max=250)] = 4,
    python: Annotated[str | None, typer.Option(help="The Python that has ducktape; this one if absent.")] = None,
) -> None:
    """Runs ducktape's system tests on the nodes of a new lab, by ssh; needs root. Takes ducktape's own options too.

    The exit code is ducktape's; its results are below ./results. The lab is gone when it ends, in whatever way.
    """
    from trogdor.ducktape import launch

    try:
        launch.run(arguments, nodes, python or sys.executable)
    except launch.NoDucktape as error:
        raise Failure(ExitCode.IMPOSSIBLE, str(error)) from None
