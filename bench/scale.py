"""What agents cost a coordinator: memory, processor time, and how long one task on all of them takes.

    PYTHONPATH=trogdor/src:trogdor/tests python bench/scale.py [--agents 1000]

The agents are light stand-ins that speak the real wire, all in one other process, a port of loopback each. What they
cost is not counted; they keep the second core busy all the same. `docs/scale.md` says what the figures mean.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from coordinator import cpu_s, free_port, resident_kib

from trogdor.client import Client, ClientError
from unit.coordinator.stand_in import StandIn

DEADLINE_S = 300.0
IDLE_S = 10.0
AHEAD_MS, DURATION_MS = 10_000, 1000


async def stand_in(agents: int) -> None:
    """Runs the agents and prints their ports; then, for each line it reads, how many workers they hold."""
    all_of_them = [StandIn(f"n{number}") for number in range(agents)]
    for agent in all_of_them:
        await agent.start()
    print(json.dumps([agent.port for agent in all_of_them]), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(sum(len(agent.workers) for agent in all_of_them), flush=True)


class StandIns:
    """The other process."""

    def __init__(self, agents: int) -> None:
        command = [sys.executable, __file__, "--agents", str(agents), "--stand-in"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ports: list[int] = self._read()

    def _read(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def workers(self) -> int:
        """How many workers the agents hold."""
        assert self._process.stdin
        print(file=self._process.stdin, flush=True)
        return int(self._read())

    def end(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()


@contextmanager
def coordinator(directory: Path, ports: list[int]) -> Iterator[tuple[Client, int]]:
    """A coordinator of agents at these ports, from its first answer on: its client and its process."""
    nodes: dict[str, dict[str, Any]] = {
        f"n{number}": {"hostname": "127.0.0.1", "trogdor.agent.port": port} for number, port in enumerate(ports)
    }
    nodes["c"] = {"hostname": "localhost", "trogdor.coordinator.port": free_port()}
    config = directory / "config.json"
    config.write_text(json.dumps({"nodes": nodes}))
    command = [sys.executable, "-m", "trogdor", "coordinator", "-c", str(config), "-n", "c", "--state", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = Client(f"127.0.0.1:{nodes['c']['trogdor.coordinator.port']}", DEADLINE_S)
    try:
        seconds_until(lambda: process.poll() is not None or answers(client))
        yield client, process.pid
    finally:
        process.terminate()
        process.wait(60)


def answers(client: Client) -> bool:
    """Whether it does."""
    try:
        client.status()
    except ClientError:
        return False
    return True


def seconds_until(is_so: Callable[[], bool], step_s: float = 0.01) -> float:
    """How long it takes until something is so; asked every ``step_s``."""
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > DEADLINE_S:
            raise SystemExit(f"waited {DEADLINE_S:g} s in vain")
        time.sleep(step_s)
    return time.monotonic() - began


def row(what: str, ours: str) -> None:
    """One line of the table."""
    print(f"{what:<62} {ours}", flush=True)


def measure(client: Client, pid: int, agents: StandIns, count: int, alone_kib: int) -> None:
    """Prints the rows."""
    met_s = seconds_until(lambda: all(node["up"] for node in client.nodes().values()), 0.5)
    row("until all are met, s / processor time, s", f"{met_s:.1f} / {cpu_s(pid):.1f}")
    time.sleep(3)
    before, began = cpu_s(pid), time.monotonic()
    time.sleep(IDLE_S)
    idle = (cpu_s(pid) - before) / (time.monotonic() - began)
    row("in touch with all, % of a core / for each", f"{100 * idle:.1f} / {100 * idle / count:.4f}")
    kib = resident_kib(pid)
    row("resident, MiB / more for each, KiB", f"{kib / 1024:.0f} / {(kib - alone_kib) / count:.1f}")
    before, began = cpu_s(pid), time.monotonic()
    start_ms = int(time.time() * 1000) + AHEAD_MS
    spec = {"class": "NoOpTaskSpec", "startMs": start_ms, "durationMs": DURATION_MS}
    client.create_task("all", spec, check=False)
    created_s = time.monotonic() - began
    seconds_until(lambda: agents.workers() >= count)
    armed_s = time.monotonic() - began
    used_ms = 1000 * (cpu_s(pid) - before - armed_s * idle)
    row("one task on all: created after, s / all armed after, s", f"{created_s:.2f} / {armed_s:.2f}")
    row("its arming, ms of processor time for each", f"{used_ms / count:.2f}")
    error = client.wait_for_done("all", DEADLINE_S).get("error", "")
    late_s = time.time() - (start_ms + DURATION_MS) / 1000
    row("its end to DONE, s", f"{late_s:.2f}{f' ({error})' if error else ''}")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--stand-in", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if arguments.stand_in:
        asyncio.run(stand_in(arguments.agents))
        return
    count = arguments.agents
    row(f"{count} agents", f"measured (load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores)")
    agents = StandIns(count)
    try:
        with tempfile.TemporaryDirectory() as alone, coordinator(Path(alone), []) as (_, pid):
            time.sleep(1)
            alone_kib = resident_kib(pid)
        with tempfile.TemporaryDirectory() as directory, coordinator(Path(directory), agents.ports) as (client, pid):
            measure(client, pid, agents, count, alone_kib)
    finally:
        agents.end()


if __name__ == "__main__":
    main()
