"""A command that prints the names of nodes, one a line: for any system that has no resolver of its own.

Option: ``command``, a list. It runs where the coordinator runs; whoever asks sets the deadline.
"""

import subprocess

from trogdor.resolve import CannotResolve, Found, Options
from trogdor.topology import Topology

MAX_NODES = 1000


def resolve(topology: Topology, role: str, options: Options) -> Found:
    """The nodes that the command prints. Raises CannotResolve when it fails."""
    command = [str(part) for part in options["command"]]
    try:
        ran = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except OSError as failure:
        raise CannotResolve(f"{command[0]}: {failure}") from None
    if ran.returncode:
        raise CannotResolve(f"{command[0]} exited with {ran.returncode}: {ran.stderr.strip()[-500:]}")
    names = ran.stdout.split()[:MAX_NODES]
    return Found(tuple(dict.fromkeys(names)), f"printed by {command[0]}")
