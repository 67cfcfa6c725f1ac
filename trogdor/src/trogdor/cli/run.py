"""``trogdor run``: runs any spec."""

from typing import Annotated, Any

import typer

from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.verb import verb

SpecArgument = Annotated[
    str, typer.Argument(metavar="SPEC", help="The spec as JSON, a file with it, or - for standard input.")
]


@verb()
def command(
    *,
    spec: SpecArgument,
) -> dict[str, Any]:
    """Runs a spec in the foreground: shows what is asked and what is seen, and heals at the end.

    trogdor run '{"class": "NetworkPartitionFaultSpec", "partitions": [["n1"], ["n2"]]}' --for 30s

    --for, --in and --at go before what the spec says. `trogdor spec list` shows what there is.
    """
    return read_spec(spec)


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
