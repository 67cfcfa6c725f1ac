"""One partition, many times, as real sockets see it: how late after its instant, and after its end.

    PYTHONPATH=trogdor/src:trogdor/tests python bench/lab_partition.py [--runs 200]

A UDP packet a millisecond goes from n1 to n2, and from n2 to n1. A way is closed when the first packet that
does not arrive is sent, and open again when the first that arrives is sent: so each figure is up to 1 ms too high.
Aims at the 99th percentile: closed within 5 ms of the instant, open within 20 ms of the end.
"""

import argparse
import os
import sys
import time
from contextlib import suppress

from lab.seeing import Listener, Watch, now_ns
from trogdor.client import Client
from trogdor.lab import Lab

AHEAD_MS, DURATION_MS, AFTER_MS = 300, 150, 80


def boot_ns(at_ms: float) -> int:
    """The instant of CLOCK_BOOTTIME that the wall clock calls `at_ms` now."""
    return int(at_ms * 1e6) - (time.time_ns() - now_ns())


def run(client: Client, number: int, ways: list[Watch]) -> tuple[float, float]:
    """How late the last way was closed, and opened again, in ms; infinite if it was not seen to be."""
    start_ms = time.time_ns() // 1_000_000 + AHEAD_MS
    spec = {
        "class": "NetworkPartitionFaultSpec",
        "startMs": start_ms,
        "durationMs": DURATION_MS,
        "partitions": [["n1"], ["n2", "n3"]],
    }
    client.create_task(f"run-{number}", spec)
    start, end = boot_ns(start_ms), boot_ns(start_ms + DURATION_MS)
    client.wait_for_done(f"run-{number}", deadline_s=30)
    time.sleep(AFTER_MS / 1000)
    for way in ways:
        way.close()
    closed = [next((c.at_ns for c in way.changes() if c.sight == "blocked"), None) for way in ways]
    opened = [way.changes()[-1].at_ns if way.changes()[-1].sight == "open" else None for way in ways]
    return latest(closed, start), latest(opened, end)


def latest(seen: list[int | None], asked: int) -> float:
    return max(float("inf") if at is None else (at - asked) / 1e6 for at in seen)


def hurry() -> None:
    """Our own packets are to leave in time, whatever else runs; the daemons run as they always do."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def show(what: str, lags: list[float], aim_ms: int) -> None:
    ordered = sorted(lags)
    p50, p99 = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    print(f"{what:34}  {ordered[0]:7.2f}  {p50:7.2f}  {p99:7.2f}  {ordered[-1]:7.2f}   ≤ {aim_ms} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    arguments = parser.parse_args()
    with Lab(nodes=3) as lab:
        lab.start_daemons()
        hurry()
        one, two = lab.nodes["n1"], lab.nodes["n2"]
        lags = []
        with Listener(one) as at_one, Listener(two) as at_two:
            for number in range(arguments.runs):
                at_one.arrived.clear()
                at_two.arrived.clear()
                lags.append(run(lab.client(), number, [Watch(one, at_two), Watch(two, at_one)]))
                if len(lags) % 50 == 0:
                    print(f"{len(lags)} of {arguments.runs}", file=sys.stderr)
    closed, opened = zip(*lags, strict=True)
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print(f"{arguments.runs} partitions, ms late{'':12}  {'min':>7}  {'p50':>7}  {'p99':>7}  {'max':>7}   aim at p99")
    show("closed after the instant", list(closed), 5)
    show("open after the end", list(opened), 20)


if __name__ == "__main__":
    main()
