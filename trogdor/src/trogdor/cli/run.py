"""``trogdor run``: runs any spec."""

from typing import Annotated, Any

import typer

from trogdor.cli import options
from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.target import Target

SpecArgument = Annotated[
    str, typer.Argument(metavar="SPEC", help="The spec as JSON, a file with it, or - for standard input.")
]


def command(
    *,
    spec: SpecArgument,
    target: Target = None,
    duration: options.For = None,
    later: options.In = None,
    at: options.At = None,
    detach: options.Detach = False,
    task_id: options.TaskId = None,
    only_print: options.Print = False,
    as_json: options.AsJson = False,
) -> None:
    """Runs a spec in the foreground: shows what is asked and what is seen, and heals at the end.

    trogdor run '{"class": "NetworkPartitionFaultSpec", "partitions": [["n1"], ["n2"]]}' --for 30s

    --for, --in and --at go before what the spec says. `trogdor spec list` shows what there is.
    """
    from trogdor.cli.foreground import run_spec

    document = read_spec(spec)
    word = str(document["class"]).rpartition(".")[2].removesuffix("Spec").removesuffix("Fault").lower()
    run_spec(
        document, options.When.read(duration, later, at), target=target, word=word, task_id=task_id, detach=detach,
        only_print=only_print, as_json=as_json,
    )  # fmt: skip


def read_spec(argument: str) -> dict[str, Any]:
    """The spec that an argument holds or names. Raises Failure when it is none."""
    from trogdor.cli.document import read_document

    try:
        document = read_document(argument)
    except ValueError as error:
        raise Failure(ExitCode.BAD_USAGE, str(error)) from None
    if not isinstance(document.get("class"), str):
        raise Failure(ExitCode.BAD_USAGE, "the spec has no class; `trogdor spec list` shows those there are")
    return document
