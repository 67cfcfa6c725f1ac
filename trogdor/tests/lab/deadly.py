"""A coordinator that dies at a commit of its store, forked from a process that has imported everything."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Literal

from trogdor.coordinator.daemon import Settings, main
from trogdor.coordinator.database import Sqlite
from trogdor.http.server import run
from trogdor.topology import Node, Topology

When = Literal["before", "after"]

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])


def coordinate(state: Path, ports: dict[str, int], when: When, number: int) -> None:
    """Runs a coordinator of agents on these ports, which dies at its commit of this number; 0: never."""
    commit, done = Sqlite.commit, 0

    def deadly(database: Sqlite) -> None:
        nonlocal done
        done += 1
        if (done, when) == (number, "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        commit(database)
        if (done, when) == (number, "after"):
            os.kill(os.getpid(), signal.SIGKILL)

    Sqlite.commit = deadly  # type: ignore[method-assign]
    nodes = {name: Node(name, "127.0.0.1", agent_port=port) for name, port in ports.items()}
    nodes["c"] = Node("c", "127.0.0.1", coordinator_port=0)
    run(main(Settings(Topology(nodes), nodes["c"], state)))
