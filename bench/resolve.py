"""How long it takes to find out who plays a part: the process that asks, its start included, on real clusters.

python bench/resolve.py [--asked N]
"""

import argparse
import asyncio
import json
import sys
import time
from typing import Any

from trogdor.compose.question import Question
from trogdor.compose.resolve import resolve
from trogdor.lab.lab import Lab
from trogdor.lab.recipes.etcd import Etcd
from trogdor.lab.recipes.kafka import Kafka

WANTED_MS = 250
ROLES = (("kafka", "controller"), ("kafka", "brokers"), ("etcd", "leader"), ("etcd", "minority"))


async def ask(topology: dict[str, Any], asked: int) -> None:
    """Asks each question again and again, as the coordinator does; prints how long each took, in ms."""
    taken: dict[str, list[float]] = {}
    for system, role in ROLES:
        for _ in range(asked):
            began = time.monotonic()
            await resolve([Question(system, role)], topology)
            taken.setdefault(f"{system} {role}", []).append((time.monotonic() - began) * 1000)
    print(json.dumps(taken))


def main(asked: int) -> None:
    """Prints the table; the questions are asked from the coordinator's node of a lab."""
    with Lab(nodes=3) as lab, Etcd(lab), Kafka(lab):
        command = [sys.executable, __file__, "--asked", str(asked), json.dumps(lab.topology())]
        taken = json.loads(lab.coordinator.exec(command, timeout=600, check=True).stdout)
    print(f"| asked {asked} times | p50 | p99 | wanted p99 |\n|---|---|---|---|")
    for what, times in taken.items():
        times.sort()
        print(f"| {what} | {times[len(times) // 2]:.0f} ms | {times[-len(times) // 100]:.0f} ms | ≤ {WANTED_MS} ms |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asked", type=int, default=50)
    parser.add_argument("topology", nargs="?", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.topology:
        asyncio.run(ask(json.loads(given.topology), given.asked))
    else:
        main(given.asked)
