"""Draws docs/timeline.svg: faults on three nodes of a lab, as they were asked for and seen. Takes some 15 s.

python examples/timeline.py docs/timeline.svg
"""

import sys
import time
from pathlib import Path
from typing import Any

from trogdor.client import Client
from trogdor.lab import Lab
from trogdor.timeline.collect import of_tasks, topology_of_names
from trogdor.timeline.svg import View, draw

WIDTH = 1200
AHEAD_MS, MARKED_MS = 1500, 3200
TASKS: dict[str, dict[str, Any]] = {
    "cut": {"class": "NetworkPartitionFaultSpec", "partitions": [["n1"], ["n2", "n3"]],
            "startMs": 0, "durationMs": 3000},
    "pause": {"class": "ProcessPauseFaultSpec", "nodeNames": ["n3"], "match": {"name": "sleep"},
              "startMs": 1200, "durationMs": 2500},
    "one-way": {"class": "CutLinksFaultSpec", "links": [{"from": "n1", "to": "n2", "protocol": "tcp"}],
                "startMs": 4200, "durationMs": 2000},
    "slow": {"class": "DegradedLinksFaultSpec", "links": [{"from": "n2", "to": "n3", "delayMs": 80, "jitterMs": 10},
                                                          {"from": "n3", "to": "n2", "delayMs": 80, "jitterMs": 10}],
             "startMs": 5200, "durationMs": 4000},
    "narrow": {"class": "DegradedLinksFaultSpec", "links": [{"from": "n1", "to": "n2", "rateKbit": 1000}],
               "startMs": 7000, "durationMs": 3000},
}  # fmt: skip
"""Their start is counted from when they are made."""


def run(client: Client) -> None:
    """All of them, with a mark in between."""
    begin_ms = client.uptime()["nowMs"] + AHEAD_MS
    for name, spec in TASKS.items():
        client.create_task(name, {**spec, "startMs": begin_ms + spec["startMs"]})
    time.sleep(MARKED_MS / 1000)
    client.mark("deploy v2")
    for name in TASKS:
        client.wait_for_done(name, deadline_s=60)


def main() -> None:
    with Lab(nodes=3) as lab, lab.node("n3").popen(["sleep", "60"]):
        lab.start_daemons()
        with lab.client() as client:
            run(client)
            nodes = topology_of_names(lab.nodes)
            timeline = of_tasks(client.tasks(), client.events(), nodes, title="Faults on three nodes")
            Path(sys.argv[1]).write_text(draw(timeline, View(WIDTH)) + "\n")


if __name__ == "__main__":
    main()
