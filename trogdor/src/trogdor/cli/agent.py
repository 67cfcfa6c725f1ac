"""``trogdor agent``: runs the daemon that carries out faults on a node."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.logs import LogFormat, set_up_logs
from trogdor.cli.quick import Option

if TYPE_CHECKING:
    from trogdor.agent.daemon import Options

CONFIG = Option("--agent.config", "-c", metavar="FILE", help="The configuration file: nodes, addresses, ports.")
NODE = Option("--node-name", "-n", metavar="NODE", help="Which node of it this is.")
EXEC = Option("--exec", "-e", metavar="SPEC", help="Run one task in the foreground: JSON, or a file; then exit.")
STATE = Option(
    "--state",
    metavar="DIR",
    help="Where the journal is kept, in DIR/NODE. Default: /var/lib/trogdor as root, else $XDG_STATE_HOME/trogdor.",
)
SOCKET = Option("--socket", metavar="PATH", help="The Unix socket, mode 600. Default: agent.sock beside the journal.")


def command(
    *,
    config: Annotated[Path, CONFIG],
    node: Annotated[str, NODE],
    exec_: Annotated[str | None, EXEC] = None,
    state: Annotated[Path | None, STATE] = None,
    socket: Annotated[Path | None, SOCKET] = None,
    log_format: LogFormat = None,
) -> None:
    """Runs the daemon that carries out faults on a node. SIGTERM ends every fault, then the agent, within 5 s.

    It answers on loopback and on the addresses that the node's hostname stands for, and on the Unix socket. A fault
    that an earlier agent left is undone before the first request is answered.
    """
    from trogdor.agent import daemon
    from trogdor.claim.ledger import JournalLocked, JournalUnreadable
    from trogdor.http.server import ListenError

    options = _options(config, node, state, socket)
    set_up_logs(options.node, log_format)
    try:
        code = daemon.run(options) if exec_ is None else _run_one(options, exec_)
    except (JournalLocked, ListenError) as error:
        raise Failure(ExitCode.IMPOSSIBLE, str(error)) from None
    except (JournalUnreadable, daemon.FaultsRemain) as error:
        raise Failure(ExitCode.REMAINED, str(error)) from None
    except OSError as error:
        raise Failure(ExitCode.IMPOSSIBLE, f"the agent cannot start: {error}") from None
    sys.exit(code)


def _run_one(options: "Options", text: str) -> int:
    from trogdor.cli import agent_exec

    return agent_exec.run(options, text)


def _options(config: Path, name: str, state: Path | None, socket: Path | None) -> "Options":
    from trogdor.agent import daemon
    from trogdor.topology import TopologyError, default_state, read_topology

    try:
        topology = read_topology(config)
    except TopologyError as error:
        raise Failure(ExitCode.BAD_USAGE, str(error)) from None
    except OSError as error:
        raise Failure(ExitCode.BAD_USAGE, f"{config}: {error.strerror}") from None
    if name not in topology.nodes:
        known = ", ".join(sorted(topology.nodes)) or "none"
        raise Failure(ExitCode.BAD_USAGE, f"{config} has no node {name!r}; it has {known}")
    return daemon.Options(topology, topology.nodes[name], state or default_state(), socket)
