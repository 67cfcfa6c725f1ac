"""What agents cost a coordinator: memory, processor time, and how long one task on all of them takes.

    PYTHONPATH=trogdor/src:trogdor/tests python bench/scale.py [--agents 1000]

The agents are light stand-ins that speak the real wire, all in one other process, a port of loopback each. What they
cost is not counted; they keep the second core busy all the same. `docs/scale.md` says what the figures mean.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

from daemons import DEADLINE_S, Daemon, StandIns, seconds_until

IDLE_S = 10.0
AHEAD_MS, DURATION_MS = 10_000, 1000


def row(what: str, ours: str) -> None:
    """One line of the table."""
    print(f"{what:<62} {ours}", flush=True)


def measure(coordinator: Daemon, agents: StandIns, count: int, alone_mib: float) -> None:
    """Prints the rows."""
    met_s = coordinator.until_met()
    row("until all are met, s / processor time, s", f"{met_s:.1f} / {coordinator.cpu_s():.1f}")
    time.sleep(3)
    idle_percent = coordinator.idle_cpu_percent(IDLE_S)
    row("in touch with all, % of a core / for each", f"{idle_percent:.1f} / {idle_percent / count:.4f}")
    mib = coordinator.resident_mib()
    row("resident, MiB / more than with one, for each, KiB", f"{mib:.0f} / {1024 * (mib - alone_mib) / count:.0f}")
    before, began = coordinator.cpu_s(), time.monotonic()
    start_ms = int(time.time() * 1000) + AHEAD_MS
    spec = {"class": "NoOpTaskSpec", "startMs": start_ms, "durationMs": DURATION_MS}
    coordinator.client.create_task("all", spec, check=False)
    created_s = time.monotonic() - began
    seconds_until(lambda: agents.workers() >= count)
    armed_s = time.monotonic() - began
    used_s = coordinator.cpu_s() - before - armed_s * idle_percent / 100
    row("a task on all: created after, s / armed by all after, s", f"{created_s:.2f} / {armed_s:.2f}")
    row("its arming, ms of processor time for each", f"{1000 * used_s / count:.2f}")
    error = coordinator.client.wait_for_done("all", DEADLINE_S).get("error", "")
    late_s = time.time() - (start_ms + DURATION_MS) / 1000
    row("its end to DONE, s", f"{late_s:.2f}{f' ({error})' if error else ''}")


def alone_mib(ports: list[int]) -> float:
    """What a coordinator takes that is in touch with a single agent."""
    with tempfile.TemporaryDirectory() as directory, Daemon("coordinator", Path(directory), None, ports[:1]) as daemon:
        daemon.until_met()
        time.sleep(3)
        return daemon.resident_mib()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=1000)
    count = parser.parse_args().agents
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    row(f"{count} agents", f"measured (load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores)")
    with StandIns(count) as agents, tempfile.TemporaryDirectory() as directory:
        alone = alone_mib(agents.ports)
        with Daemon("coordinator", Path(directory), None, agents.ports) as coordinator:
            measure(coordinator, agents, count, alone)


if __name__ == "__main__":
    main()
