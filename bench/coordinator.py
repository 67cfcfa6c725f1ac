"""Help; each daemon alone: start to first answer, memory and CPU when idle; creates a second, and GET of many tasks.

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

from daemons import Daemon, StandIns

FAR_MS = 4102444800000
TASKS = 11_299
NOOP = {"class": "org.apache.kafka.trogdor.task.NoOpTaskSpec", "startMs": FAR_MS, "durationMs": 1000}
AGENTS = 5


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
    """Both rows of creates, of tasks far ahead on five agents; with the usual durability also the GET of many."""
    with StandIns(AGENTS) as agents:
        with Daemon("coordinator", directory, {"store.sync": sync}, agents.ports) as daemon:
            daemon.until_met()
            creates_per_s(daemon.port, 1, 0.5, "warm")
            for index, connections in enumerate((1, 16)):
                rate = creates_per_s(daemon.port, connections, seconds, f"c{connections}")
                row(f"create, sync={sync}, {connections} connection(s), /s", java[index], aim[index], f"{rate:.0f}")
        if sync == "normal":
            with Daemon("coordinator", directory / "get", agent_ports=agents.ports) as daemon:
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
        twice = f" ({daemon.resident_mib_of_each():.1f} where shared pages count twice)" if kind == "agent" else ""
        row(f"{kind}: resident when idle, MiB", java_memory, "<= 60", f"{daemon.resident_mib():.1f}{twice}")
        row(f"{kind}: CPU when idle, % of a core", "0.7", "<= 0.2", f"{daemon.idle_cpu_percent(10):.2f}")


def measure_help() -> None:
    """How long one who asks for help waits, median of 9."""
    took = []
    for _ in range(9):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "trogdor", "--help"], stdout=subprocess.DEVNULL, check=True)
        took.append(time.perf_counter() - began)
    row("trogdor --help, s", "", "<= 0.3", f"{median(took):.2f}")


def main() -> None:
    """Prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement of creates")
    seconds = parser.parse_args().seconds
    row("", "Java 4.1.0", "aim", f"measured (load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores)")
    measure_help()
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
