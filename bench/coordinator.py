"""Help; each daemon alone: start to first answer, memory and CPU when idle; creates a second, and GET of many tasks.

    python bench/coordinator.py [--seconds S] [--rounds R]

Java Trogdor 4.1.0's daemons do the same beside ours, in turns, with upstream's options; medians. Load comes from
processes of its own, over kept connections; every create of ours is on disk before it is answered (SQLite, WAL), Java's
are in memory.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from daemons import Daemon, JavaDaemon, StandIns

FAR_MS = 4102444800000
TASKS = 11_299
NOOP = {"class": "org.apache.kafka.trogdor.task.NoOpTaskSpec", "startMs": FAR_MS, "durationMs": 1000}
AGENTS = 5
WARM_S = 20.0
"""After so long with as much work as there can be, Java's compiler has little left to do."""

KINDS: tuple[type[Daemon], ...] = (JavaDaemon, Daemon)


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
    print(f"{what:<46} {java:>14} {aim:>10}   {ours}", flush=True)


def measure_creates(directory: Path, rounds: int, seconds: float) -> None:
    """Creates of tasks far ahead on five agents, over 1 and 16 connections, Java's and ours in turns."""
    with (
        StandIns(AGENTS) as agents,
        JavaDaemon("coordinator", directory, None, agents.ports) as java,
        Daemon("coordinator", directory, None, agents.ports) as ours,
    ):
        ours.until_met()
        creates_per_s(java.port, 16, WARM_S, "warm")
        for connections, aim in ((1, 1.2), (16, 1.4)):
            rates: dict[Daemon, list[float]] = {java: [], ours: []}
            for number in range(rounds):
                for daemon, made in rates.items():
                    made.append(creates_per_s(daemon.port, connections, seconds, f"c{connections}-{number}"))
            javas, own = median(rates[java]), median(rates[ours])
            what = f"create, {connections} connection(s), /s"
            row(what, f"{javas:.0f}", f">= {aim}x", f"{own:.0f} ({own / javas:.2f}x)")


def measure_synced_creates(directory: Path, seconds: float) -> None:
    """The same of ours alone, each on the disk for good."""
    with StandIns(AGENTS) as agents, Daemon("coordinator", directory, {"store.sync": "full"}, agents.ports) as daemon:
        daemon.until_met()
        for connections in (1, 16):
            rate = creates_per_s(daemon.port, connections, seconds, f"c{connections}")
            row(f"create, store.sync=full, {connections} connection(s), /s", "", "", f"{rate:.0f}")


def measure_get(directory: Path) -> None:
    """The GET of many tasks."""
    with StandIns(AGENTS) as agents:
        ms = []
        for kind in KINDS:
            with kind("coordinator", directory, None, agents.ports) as daemon:
                for number in range(TASKS):
                    daemon.client.create_task(f"t{number}", NOOP, check=False)
                ms.append(get_all_ms(daemon.port))
    row(f"GET tasks with {TASKS} tasks, ms", f"{ms[0]:.1f}", "<= 1x", f"{ms[1]:.1f} ({ms[1] / ms[0]:.2f}x)")


def measure_daemon(kind: str, directory: Path) -> None:
    """The rows of an idle daemon."""
    starts: dict[type[Daemon], list[float]] = {side: [] for side in KINDS}
    for _ in range(5):
        for side, took in starts.items():
            with side(kind, directory) as daemon:
                took.append(daemon.start_s)
    mib, percent, twice = [], [], ""
    for side in KINDS:
        with side(kind, directory) as daemon:
            time.sleep(3)
            mib.append(daemon.resident_mib())
            percent.append(daemon.idle_cpu_percent(10))
            if kind == "agent" and side is Daemon:
                twice = f" ({daemon.resident_mib_of_each():.1f} where shared pages count twice)"
    javas, own = (median(starts[side]) for side in KINDS)
    row(f"{kind}: start to first 200, s", f"{javas:.2f}", "<= 0.5", f"{own:.2f} ({own / javas:.2f}x)")
    row(f"{kind}: resident when idle, MiB", f"{mib[0]:.1f}", "<= 60", f"{mib[1]:.1f}{twice}")
    row(f"{kind}: CPU when idle, % of a core", f"{percent[0]:.2f}", "<= 0.2", f"{percent[1]:.2f}")


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
    parser.add_argument("--rounds", type=int, default=3, help="of measurements of creates")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that its daemons end with it
    row("", "Java 4.1.0", "aim", f"ours (load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores)")
    measure_help()
    for kind in ("agent", "coordinator"):
        with tempfile.TemporaryDirectory() as temporary:
            measure_daemon(kind, Path(temporary))
    with tempfile.TemporaryDirectory() as temporary:
        measure_creates(Path(temporary), arguments.rounds, arguments.seconds)
    with tempfile.TemporaryDirectory() as temporary:
        measure_synced_creates(Path(temporary), arguments.seconds)
    with tempfile.TemporaryDirectory() as temporary:
        measure_get(Path(temporary))


if __name__ == "__main__":
    main()
