"""Which coordinator a command talks to, and what becomes of a daemon's errors."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trogdor.cli.exits import ExitCode, Failure

if TYPE_CHECKING:
    from trogdor.client import AgentClient, Client

VARIABLE = "TROGDOR"
COMPLETION_S = 1.0

Target = Annotated[
    str | None,
    typer.Option(
        "-t",
        "--target",
        metavar="TARGET",
        help="The coordinator: HOST:PORT or unix:PATH. Else $TROGDOR, else that of the one lab that is up.",
    ),
]


@contextmanager
def coordinator(target: str | None) -> "Iterator[Client]":
    """A client of the coordinator; whatever it raises in the block becomes a Failure."""
    from trogdor.client import Client

    with failures(), Client(_parsed(target or found_target())) as client:
        yield client


@contextmanager
def agent(target: str) -> "Iterator[AgentClient]":
    """A client of one agent; whatever it raises in the block becomes a Failure."""
    from trogdor.client import AgentClient

    with failures(), AgentClient(_parsed(target)) as client:
        yield client


def found_target() -> str:
    """``$TROGDOR``, or the coordinator of the one lab that is up. Raises Failure when there is none, or several."""
    if os.environ.get(VARIABLE):
        return os.environ[VARIABLE]
    labs = running_labs()
    if len(labs) == 1:
        return next(iter(labs.values()))
    if labs:
        names = ", ".join(labs)
        first = next(iter(labs.values()))
        raise Failure(
            ExitCode.BAD_USAGE, f"several labs are up: {names}. Say which with -t or ${VARIABLE}, such as -t {first}"
        )
    raise Failure(
        ExitCode.BAD_USAGE,
        f"no coordinator is named, and no lab with one is up. Give -t HOST:PORT, set ${VARIABLE}, or start a lab: "
        "trogdor lab up 3",
    )


def running_labs() -> dict[str, str]:
    """The user's labs that are up and have a coordinator: name → ``unix:PATH``."""
    from trogdor.lab.runtime import LabError, running, runtime_directory

    try:
        sockets = {name: runtime_directory() / name / "coordinator.sock" for name in running()}
    except LabError:
        return {}
    return {name: f"unix:{path}" for name, path in sockets.items() if path.is_socket()}


def _parsed(target: str) -> str:
    from trogdor.client import Target as Parsed

    try:
        return str(Parsed.parse(target))
    except ValueError as error:
        raise Failure(ExitCode.BAD_USAGE, str(error)) from None


def complete_node(incomplete: str) -> list[str]:
    """Shell completion: the nodes of the coordinator that a command would talk to; none when it does not answer."""
    return [name for name in _ask(lambda client: client.nodes()) if name.startswith(incomplete)]


def complete_task(incomplete: str) -> list[str]:
    """Shell completion: the tasks that are not done."""
    tasks = _ask(lambda client: client.tasks())
    return [name for name, task in tasks.items() if task["state"] != "DONE" and name.startswith(incomplete)]


def _ask(question: "Callable[[Client], Mapping[str, Any]]") -> "Mapping[str, Any]":
    from trogdor.client import Client, ClientError

    try:
        with Client(found_target(), deadline_s=COMPLETION_S) as client:
            return question(client)
    except (Failure, ClientError, ValueError):
        return {}


@contextmanager
def failures() -> Iterator[None]:
    """Turns a client's errors into Failures with their exit codes."""
    from trogdor.client import DeadlineExceeded, Failed, Refused, Unreachable

    try:
        yield
    except Unreachable as error:
        hint = f"Is it running, and is this its address (-t, ${VARIABLE})?"
        raise Failure(ExitCode.UNREACHABLE, f"{error}. {hint}") from None
    except Refused as error:
        raise Failure(ExitCode.BAD_USAGE, str(error)) from None
    except DeadlineExceeded as error:
        raise Failure(ExitCode.REMAINED, f"{error}. `trogdor heal` ends every fault.") from None
    except Failed as error:
        code = ExitCode.IMPOSSIBLE if error.status == 503 else ExitCode.NOT_TAKEN
        raise Failure(code, str(error)) from None
