"""A command that prints the names of nodes, one a line: for any system that has no resolver of its own.

Argument: ``command``, a list. The target is its last argument. It runs where the coordinator runs.
"""

import subprocess

from trogdor.resolve import Arguments, CannotResolve, Found
from trogdor.topology import Topology

TIMEOUT_S = 10.0
MAX_NODES = 1000


def resolve(target: str, arguments: Arguments, topology: Topology) -> Found:
    """The nodes that the command prints. Raises CannotResolve when it fails or prints what is no node."""
    command = [*map(str, arguments["command"]), target]
    try:
        ran = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise CannotResolve(f"{command[0]}: {failure}") from None
    if ran.returncode:
        raise CannotResolve(f"{command[0]} exited with {ran.returncode}: {ran.stderr.strip()[-500:]}")
    names = ran.stdout.split()
    unknown = [name for name in names if name not in topology.nodes]
    if unknown or not names or len(names) > MAX_NODES:
        raise CannotResolve(
            f"{command[0]} printed {unknown[0] + ', which is no node' if unknown else f'{len(names)} nodes'}"
        )
    return Found(tuple(dict.fromkeys(names)), f"printed by {command[0]}")
