"""Each daemon alone: start to first answer, memory and CPU when idle; creates a second, and GET of many tasks.

    python bench/coordinator.py [--seconds S]

Printed beside Java Trogdor 4.1.0's figures (2 cores, 5 agents). Load comes from processes of its own, over kept
connections; every create is on disk before it is answered (SQLite, WAL).
"""

import argparse
import http.client
import json
import multiprocessing
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from trogdor.client import AgentClient, Client, ClientError

FAR_MS = 4102444800000
TASKS = 11_299
NOOP = {"class": "org.apache.kafka.trogdor.task.NoOpTaskSpec", "startMs": FAR_MS, "durationMs": 1000}
START_DEADLINE_S = 60.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Daemon:
    """A daemon of ours in a directory of its own; ``start_s`` is the time to its first answer."""

    def __init__(self, kind: str, directory: Path, settings: dict[str, str] | None = None) -> None:
        self.port = free_port()
        name = "c" if kind == "coordinator" else "n1"
        agents = {"n1": {"hostname": "localhost", "trogdor.agent.port": self.port}} if kind == "agent" else {}
        here = {"hostname": "localhost", "trogdor.coordinator.port": self.port, **(settings or {})}
        config = directory / f"{kind}.json"
        config.write_text(json.dumps({"nodes": {**agents, "c": here}}))
        command = [sys.executable, "-m", "trogdor", kind, "-c", str(config), "-n", name, "--state", str(directory)]
        target = f"127.0.0.1:{self.port}"
        self.client: Any = Client(target) if kind == "coordinator" else AgentClient(target)
        began = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                self.client.status()
                break
            except ClientError:
                if self.process.poll() is not None or time.perf_counter() - began > START_DEADLINE_S:
                    raise SystemExit(f"the {kind} does not start: {' '.join(command)}") from None
                time.sleep(0.002)
        self.start_s = time.perf_counter() - began

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)

    def family(self) -> list[int]:
        """The daemon's process and its children, such as the agent's warden."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def memory_mib(self) -> float:
        """Resident, of the daemon and its children; shared pages count once for each."""
        return sum(resident_kib(pid) for pid in self.family()) / 1024

    def idle_cpu_percent(self, seconds: float) -> float:
        """Of one core."""
        before = sum(map(cpu_s, self.family()))
        time.sleep(seconds)
        return 100 * (sum(map(cpu_s, self.family())) - before) / seconds


def resident_kib(pid: int) -> int:
    """VmRSS of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def cpu_s(pid: int) -> float:
    """Processor time of a process's threads so far, as exact as the kernel tells it."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def create_for(port: int, prefix: str, seconds: float, counts: "multiprocessing.Queue[int]", connections: int) -> None:
    """Creates tasks over some connections, one request at a time on each, as fast as they are answered."""
    socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    for sock in socks:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made, end = 0, time.perf_counter() + seconds
    answers: dict[int, bytes] = {}

    def send(sock: socket.socket) -> None:
        nonlocal made
        body = json.dumps({"id": f"{prefix}-{made}", "spec": NOOP}).encode()
        made += 1
        sock.sendall(
            b"POST /coordinator/task/create HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )

    with selectors.DefaultSelector() as ready:
        for sock in socks:
            ready.register(sock, selectors.EVENT_READ)
            send(sock)
        while time.perf_counter() < end:
            for key, _ in ready.select():
                answer = answers[key.fd] = answers.get(key.fd, b"") + key.fileobj.recv(65536)  # type: ignore[union-attr]
                if answer.endswith(b"}"):  # headers and body may come apart
                    assert answer.startswith(b"HTTP/1.1 200"), answer
                    answers[key.fd] = b""
                    send(key.fileobj)  # type: ignore[arg-type]
    counts.put(made - connections)


def creates_per_s(port: int, connections: int, seconds: float, prefix: str) -> float:
    """Creates answered a second, over ``connections`` connections of one other process."""
    counts: multiprocessing.Queue[int] = multiprocessing.Queue()
    arguments = (port, prefix, seconds, counts, connections)
    process = multiprocessing.Process(target=create_for, args=arguments)
    process.start()
    made = counts.get(timeout=seconds + 60)
    process.join()
    return made / seconds


def get_all_ms(port: int) -> float:
    """The time to GET every task, median of 15."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    times = []
    for _ in range(15):
        began = time.perf_counter()
        connection.request("GET", "/coordinator/tasks")
        body = connection.getresponse().read()
        times.append((time.perf_counter() - began) * 1000)
    assert len(json.loads(body)["tasks"]) >= TASKS
    return median(times)


def row(what: str, java: str, aim: str, ours: str) -> None:
    """One line of the table."""
    print(f"{what:<46} {java:>16} {aim:>16}   {ours}", flush=True)


def measure_creates(directory: Path, seconds: float, sync: str, java: tuple[str, str], aim: tuple[str, str]) -> None:
    """Both rows of creates, and with the usual durability the GET of many."""
    with Daemon("coordinator", directory, {"store.sync": sync}) as daemon:
        creates_per_s(daemon.port, 1, 0.5, "warm")
        for index, connections in enumerate((1, 16)):
            rate = creates_per_s(daemon.port, connections, seconds, f"c{connections}")
            row(f"create, sync={sync}, {connections} connection(s), /s", java[index], aim[index], f"{rate:.0f}")
    if sync == "normal":
        with Daemon("coordinator", directory / "get") as daemon:
            for number in range(TASKS):
                daemon.client.create_task(f"t{number}", NOOP, check=False)
            row(f"GET tasks with {TASKS} tasks, ms", "23", "<= 23", f"{get_all_ms(daemon.port):.1f}")


def measure_daemon(kind: str, directory: Path, java_start: str, java_memory: str) -> None:
    """The rows of an idle daemon."""
    starts = []
    for _ in range(5):
        with Daemon(kind, directory) as daemon:
            starts.append(daemon.start_s)
    with Daemon(kind, directory) as daemon:
        time.sleep(3)
        row(f"{kind}: start to first 200, s", java_start, "<= 0.5", f"{median(starts):.2f}")
        row(f"{kind}: resident when idle, MiB", java_memory, "<= 60", f"{daemon.memory_mib():.1f}")
        row(f"{kind}: CPU when idle, % of a core", "0.7", "<= 0.2", f"{daemon.idle_cpu_percent(10):.2f}")


def main() -> None:
    """Prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement of creates")
    seconds = parser.parse_args().seconds
    row("", "Java 4.1.0", "aim", f"measured (load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores)")
    for kind, java_start, java_memory in (("agent", "1.48", "117"), ("coordinator", "1.70", "128")):
        with tempfile.TemporaryDirectory() as temporary:
            measure_daemon(kind, Path(temporary), java_start, java_memory)
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / "get").mkdir()
        measure_creates(Path(temporary), seconds, "normal", ("2071", "3509"), (">= 2485", ">= 4913"))
    with tempfile.TemporaryDirectory() as temporary:
        measure_creates(Path(temporary), seconds, "full", ("(in memory)", "(in memory)"), ("", ""))


if __name__ == "__main__":
    main()
