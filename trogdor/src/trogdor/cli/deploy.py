"""``trogdor deploy`` and ``trogdor undeploy``: daemons on machines that are reached by ssh."""

import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trogdor.cli.exits import ExitCode, Failure

if TYPE_CHECKING:
    from trogdor.deploy.fleet import Machine, Outcome
    from trogdor.deploy.wheels import Wheels

Hosts = Annotated[
    str,
    typer.Option(
        "--ssh", metavar="HOSTS", help="The machines: [NODE=][USER@]HOST,…; without NODE= the host is the node's name."
    ),
]
SshConfig = Annotated[
    Path | None, typer.Option("--ssh-config", metavar="FILE", help="ssh's configuration, instead of ~/.ssh/config.")
]
Sudo = Annotated[bool, typer.Option("--sudo", help="Become root there by `sudo -n`.")]
Prefix = Annotated[str, typer.Option("--prefix", metavar="DIR", help="What is installed goes below it.")]
PREFIX = "/opt/trogdor"


def deploy(
    *,
    hosts: Hosts,
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", metavar="FILE", help="The configuration; absent, one is made of the hosts."),
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(
            "--coordinator", metavar="NODE", help="Without -c: the machine for the coordinator, not an agent."
        ),
    ] = None,
    wheels: Annotated[
        Path | None,
        typer.Option(
            "--wheels", metavar="DIR", help="Wheels of pytrogdor, all it needs, and pip; absent, made by pip."
        ),
    ] = None,
    python: Annotated[str, typer.Option("--python", help="Python 3.11 or newer, as the machines call it.")] = "python3",
    prefix: Prefix = PREFIX,
    ssh_config: SshConfig = None,
    sudo: Sudo = False,
) -> None:
    """Installs, starts and checks agents, and a coordinator, on machines that are reached by ssh.

    The machines need Python and no registry: wheels are copied there. All of it is in PREFIX/VERSION; the daemons are
    systemd units (trogdor-agent, trogdor-coordinator) where systemd runs. Another version there is replaced.

    trogdor deploy --ssh n0=root@10.0.0.10,n1=root@10.0.0.11,n2=root@10.0.0.12 --coordinator n0

    trogdor deploy --ssh n1=admin@worker1 --sudo -c trogdor.json
    """
    from trogdor.deploy import fleet
    from trogdor.topology import TopologyError, topology_of

    machines = _machines(hosts, ssh_config, sudo)
    if config is not None and coordinator is not None:
        raise Failure(ExitCode.BAD_USAGE, "--coordinator goes without -c: the configuration says where it is")
    try:
        document = _read(config) if config else fleet.made_config(machines, coordinator)
        topology = topology_of(document, str(config or "--ssh"))
        fleet.check(machines, topology)
    except (TopologyError, fleet.FleetError) as error:
        raise Failure(ExitCode.BAD_USAGE, str(error)) from None
    with tempfile.TemporaryDirectory() as made:
        found = _wheels(wheels, Path(made))
        _report(fleet.deploy(machines, topology, document, found, prefix=prefix, python=python))


def undeploy(*, hosts: Hosts, prefix: Prefix = PREFIX, ssh_config: SshConfig = None, sudo: Sudo = False) -> None:
    """Ends the daemons that `trogdor deploy` started, and removes exactly what it installed.

    Faults end with their agents; what a dead agent may have left is undone from its journal first.
    """
    from trogdor.deploy import fleet

    _report(fleet.undeploy(_machines(hosts, ssh_config, sudo), prefix))


def _machines(hosts: str, ssh_config: Path | None, sudo: bool) -> "list[Machine]":
    from trogdor.deploy import fleet
    from trogdor.deploy.account import options_of

    try:
        return fleet.read_hosts(hosts, options_of(ssh_config), sudo)
    except fleet.FleetError as error:
        raise Failure(ExitCode.BAD_USAGE, str(error)) from None


def _read(config: Path) -> Any:
    try:
        return json.loads(config.read_text())
    except (OSError, ValueError) as error:
        raise Failure(ExitCode.BAD_USAGE, f"{config}: {error}") from None


def _wheels(given: Path | None, made: Path) -> "Wheels":
    from trogdor.deploy import wheels

    try:
        return wheels.Wheels.read(given) if given else wheels.make(made)
    except wheels.NoWheels as error:
        raise Failure(ExitCode.BAD_USAGE if given else ExitCode.IMPOSSIBLE, str(error)) from None


def _report(outcomes: "Iterable[Outcome]") -> None:
    """Prints what was done as it comes; raises Failure when a machine failed."""
    from trogdor.deploy.account import SshError

    failed = []
    for outcome in outcomes:
        for line in outcome.lines:
            print(f"{outcome.node}: {line}", flush=True)
        if outcome.error is not None:
            failed.append(outcome.error)
            print(f"{outcome.node}: {outcome.error}", file=sys.stderr, flush=True)
    if failed:
        unreachable = all(isinstance(error, SshError) and error.unreachable for error in failed)
        code = ExitCode.UNREACHABLE if unreachable else ExitCode.IMPOSSIBLE
        raise Failure(code, f"{len(failed)} of the machines could not be served")
