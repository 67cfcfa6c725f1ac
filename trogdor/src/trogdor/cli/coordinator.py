"""``trogdor coordinator``: runs the daemon that keeps the tasks and knows the nodes."""

import logging
import sys
from pathlib import Path
from typing import Annotated

from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.logs import LogFormat, set_up_logs
from trogdor.cli.quick import Option


def command(
    *,
    config: Annotated[
        Path,
        Option("-c", "--config", "--coordinator.config", help="The configuration file: every node, as upstream's."),
    ],
    node: Annotated[str, Option("-n", "--node-name", help="This node's name in the configuration.")],
    run: Annotated[
        str, Option("--exec", metavar="SPEC", help="Run one task in the foreground, print its end, and exit.")
    ] = "",
    state: Annotated[
        Path | None,
        Option(
            "--state",
            help="Store and socket go to DIR/NODE. Default: /var/lib/trogdor as root, else $XDG_STATE_HOME/trogdor.",
            metavar="DIR",
        ),
    ] = None,
    verbose: Annotated[bool, Option("-v", "--verbose", help="Log more.")] = False,
    log_format: LogFormat = None,
) -> None:
    """Runs the coordinator: it keeps the tasks, knows the nodes, and tells each agent what to do, and when.

    It listens on loopback and on the addresses that its own hostname in the configuration stands for, at
    trogdor.coordinator.port (8889), and on coordinator.sock in its state directory. Tasks survive it; SIGTERM ends
    every fault first. Settings of its node: trogdor.coordinator.store (a database URL; SQLite in the state directory
    unless told), store.sync: full (survive power loss), trogdor.webhooks (who is told of events),
    trogdor.external.commands (programs that schedules may have it run).
    """
    from pydantic import ValidationError

    from trogdor.cli.document import read_document
    from trogdor.coordinator.daemon import ConfigurationError, main, settings_of
    from trogdor.coordinator.store import StoreError
    from trogdor.http.server import ListenError
    from trogdor.http.server import run as run_loop
    from trogdor.spec import SpecError, parse
    from trogdor.topology import TopologyError, read_topology

    try:
        settings = settings_of(read_topology(config), node, state)
        set_up_logs(settings.node, log_format, logging.DEBUG if verbose else logging.INFO)
        spec = parse(read_document(run)) if run else None
        code = run_loop(main(settings, spec))
    except (ConfigurationError, TopologyError, ValidationError, SpecError, ValueError) as error:
        raise Failure(ExitCode.BAD_USAGE, str(error)) from None
    except OSError as error:
        raise Failure(ExitCode.BAD_USAGE, f"{error.filename or config}: {error.strerror}") from None
    except (ListenError, StoreError) as error:
        raise Failure(ExitCode.IMPOSSIBLE, str(error)) from None
    sys.exit(code)
