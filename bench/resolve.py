"""How long it takes to find out who plays a part: the process that asks, its start included, on real clusters.

python bench/resolve.py [--asked N]
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from lab.postgresql import start_server
from trogdor.compose.question import Question
from trogdor.compose.resolve import Unresolved, resolve
from trogdor.lab.lab import Lab
from trogdor.lab.recipes.etcd import Etcd
from trogdor.lab.recipes.kafka import Kafka
from trogdor.lab.recipes.zookeeper import Zookeeper

WANTED_MS = 250
PATIENCE_S = 30.0
ROLES: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
    "KRaft": [
        ("kafka", "controller", {}),
        ("kafka", "brokers", {}),
        ("kafka", "leader", {"topic": "asked"}),
        ("kafka", "coordinator", {"group": "asked"}),
        ("etcd", "leader", {}),
        ("etcd", "minority", {}),
        ("postgresql", "primary", {"hosts": "n1:5432"}),
    ],
    "ZooKeeper": [("kafka", "controller", {"zookeeper": "zk1:2181"})],
}


async def ask(which: str, topology: dict[str, Any], asked: int) -> None:
    """Asks each question again and again, as the coordinator does; prints how long each took, in ms."""
    taken: dict[str, list[float]] = {}
    for system, role, options in ROLES[which]:
        question = Question(system, role, options)
        await until_answered(question, topology)
        for _ in range(asked):
            began = time.monotonic()
            (answer,) = await resolve([question], topology)
            taken.setdefault(f"{system} {role}, {which}" if system == "kafka" else f"{system} {role}", []).append(
                (time.monotonic() - began) * 1000
            )
            assert answer.nodes, answer
    print(json.dumps(taken))


async def until_answered(question: Question, topology: dict[str, Any]) -> None:
    """Kafka makes what it needs for its first group when it is asked for one, and says so long that it is not there."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            await resolve([question], topology)
            return
        except Unresolved:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


@contextmanager
def clusters(which: str) -> Iterator[Lab]:
    """A lab with the systems that are asked."""
    with ExitStack() as stack:
        if which == "ZooKeeper":
            lab = stack.enter_context(Lab(nodes=["n1", "zk1"]))
            stack.enter_context(Kafka(lab, ["n1"], zookeeper=stack.enter_context(Zookeeper(lab, ["zk1"]))))
        else:
            lab = stack.enter_context(Lab(nodes=3))
            stack.enter_context(Etcd(lab))
            stack.enter_context(Kafka(lab)).ledger("asked")
            start_server(lab.node("n1"))
        yield lab


def main(asked: int) -> None:
    """Prints the table; the questions are asked from the coordinator's node of a lab."""
    print(f"| asked {asked} times | p50 | p99 | wanted p99 |\n|---|---|---|---|", flush=True)
    for which in ROLES:
        with clusters(which) as lab:
            command = [sys.executable, __file__, "--asked", str(asked), which, json.dumps(lab.topology())]
            taken = json.loads(lab.coordinator.exec(command, timeout=600, check=True).stdout)
        for what, times in taken.items():
            times.sort()
            p50, p99 = times[len(times) // 2], times[-len(times) // 100]
            print(f"| {what} | {p50:.0f} ms | {p99:.0f} ms | ≤ {WANTED_MS} ms |", flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asked", type=int, default=50)
    parser.add_argument("asking", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.asking:
        which, topology = given.asking
        asyncio.run(ask(which, json.loads(topology), given.asked))
    else:
        main(given.asked)
