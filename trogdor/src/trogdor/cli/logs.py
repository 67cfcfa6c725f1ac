"""How the daemons log, as told on the command line, else in the configuration."""

import logging
from typing import TYPE_CHECKING, Annotated

from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.quick import Option

if TYPE_CHECKING:
    from trogdor.topology import Node

LogFormat = Annotated[
    str | None,
    Option(
        "--log-format",
        metavar="FORMAT",
        help="text, or json: an object a line. Default: the setting trogdor.log.format.",
    ),
]


def set_up_logs(node: "Node", wanted: str | None, level: int = logging.INFO) -> None:
    """Logs to standard error from now on. Raises Failure for an unknown format."""
    from trogdor import logs

    try:
        logs.set_up(wanted or node.settings.get(logs.SETTING, "text"), level)
    except ValueError as error:
        raise Failure(ExitCode.BAD_USAGE, str(error)) from None
