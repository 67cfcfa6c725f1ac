"""What is measured: a daemon, ours or Java Trogdor's; and light agents, all in one other process."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trogdor.client import AgentClient, Client, ClientError
from trogdor.lab.recipes.jars import class_path, java
from unit.coordinator.stand_in import StandIn

DEADLINE_S = 300.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def seconds_until(is_so: Callable[[], bool], step_s: float = 0.01) -> float:
    """How long it takes until something is so; asked every ``step_s``."""
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > DEADLINE_S:
            raise SystemExit(f"waited {DEADLINE_S:g} s in vain")
        time.sleep(step_s)
    return time.monotonic() - began


class Daemon:
    """A daemon, at a port of loopback; ``start_s`` is the time to its first answer."""

    END = signal.SIGTERM

    def __init__(
        self, kind: str, directory: Path, settings: dict[str, str] | None = None, agent_ports: Sequence[int] = ()
    ) -> None:
        """``settings`` of the coordinator's node; ``agent_ports``: where its agents n0, n1, … listen."""
        self.port = free_port()
        nodes: dict[str, dict[str, Any]] = {
            f"n{number}": {"hostname": "127.0.0.1", "trogdor.agent.port": port}
            for number, port in enumerate([self.port] if kind == "agent" else agent_ports)
        }
        nodes["c"] = {"hostname": "localhost", "trogdor.coordinator.port": self.port, **(settings or {})}
        config = directory / f"{self.port}.json"
        config.write_text(json.dumps({"platform": "org.apache.kafka.trogdor.basic.BasicPlatform", "nodes": nodes}))
        command = self.command(kind, config, "c" if kind == "coordinator" else "n0")
        target = f"127.0.0.1:{self.port}"
        self.client: Any = (Client if kind == "coordinator" else AgentClient)(target, DEADLINE_S)
        began = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds_until(self._answers, 0.002)
        self.start_s = time.perf_counter() - began

    def command(self, kind: str, config: Path, node: str) -> list[str]:
        """What starts it; its state is kept beside its configuration."""
        state = str(config.with_suffix(".state"))
        return [sys.executable, "-m", "trogdor", kind, "-c", str(config), "-n", node, "--state", state]

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise SystemExit(f"it does not start: {' '.join(map(str, self.process.args))}")  # type: ignore[arg-type]
        try:
            self.client.status()
        except ClientError:
            return False
        return True

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(self.END)
        self.process.wait(60)

    def until_met(self) -> float:
        """Returns, after so many seconds, once a coordinator is in touch with every agent."""
        return seconds_until(lambda: all(node["up"] for node in self.client.nodes().values()), 0.5)

    def _family(self) -> list[int]:
        """The daemon's process and its children, such as the agent's warden."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def resident_mib(self) -> float:
        """Resident, of the daemon and its children; pages that they share with it count once."""
        return (_kib(self.process.pid, "Rss") + sum(_kib(child, "Private_") for child in self._family()[1:])) / 1024

    def resident_mib_of_each(self) -> float:
        """The same, but that shared pages count once for each."""
        return sum(_kib(pid, "Rss") for pid in self._family()) / 1024

    def cpu_s(self) -> float:
        """Processor time of the daemon and its children so far."""
        return sum(map(_cpu_s, self._family()))

    def idle_cpu_percent(self, seconds: float) -> float:
        """Of one core."""
        before, began = self.cpu_s(), time.monotonic()
        time.sleep(seconds)
        return 100 * (self.cpu_s() - before) / (time.monotonic() - began)


class JavaDaemon(Daemon):
    """Java Trogdor 4.1.0's, with the options that upstream's trogdor.sh gives it and room for many tasks."""

    END = signal.SIGKILL
    """It takes more than a minute to end otherwise, with many tasks."""

    OPTIONS = ("-server", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35")

    def command(self, kind: str, config: Path, node: str) -> list[str]:
        main = f"org.apache.kafka.trogdor.{kind}.{kind.capitalize()}"
        jars = class_path("trogdor-4.1.0")
        return [java(), *self.OPTIONS, "-cp", jars, main, f"--{kind}.config", str(config), "--node-name", node]


def _kib(pid: int, kind: str) -> int:
    """The sum of what the kernel counts under names that begin so: ``Rss``, ``Private_``."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(kind))


def _cpu_s(pid: int) -> float:
    """Of the threads that there are, as exact as the kernel tells it."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


class StandIns:
    """Light agents that speak the real wire, at a port of loopback each."""

    def __init__(self, agents: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(agents)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.ports: list[int] = self._read()

    def _read(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def workers(self) -> int:
        """How many workers they hold."""
        assert self._process.stdin
        print(file=self._process.stdin, flush=True)
        return int(self._read())

    def __enter__(self) -> "StandIns":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


async def stand_in(agents: int) -> None:
    """Runs agents and prints their ports; then, for each line that is read, how many workers they hold."""
    all_of_them = [StandIn(f"n{number}") for number in range(agents)]
    for agent in all_of_them:
        await agent.start()
    print(json.dumps([agent.port for agent in all_of_them]), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(sum(len(agent.workers) for agent in all_of_them), flush=True)


if __name__ == "__main__":
    asyncio.run(stand_in(int(sys.argv[1])))
