"""What an agent costs and how late it fires: start-up, memory with the warden, idle processor time, lag of its thread.

    python bench/agent.py [--seconds 20] [--burners 3]

Prints a table beside Java Trogdor 4.1.0 on two cores and what we aim for. Runs on loopback, in a temporary directory.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from trogdor.instant import NS_PER_MS, Clock, FiringThread

CONFIG = {"nodes": {"n1": {"hostname": "localhost", "trogdor.agent.port": 0}}}
TICKS = os.sysconf("SC_CLK_TCK")


def start(directory: Path) -> tuple["subprocess.Popen[str]", float]:
    """An agent, and the seconds until it answered."""
    config = directory / "config.json"
    config.write_text(json.dumps(CONFIG))
    began = time.monotonic()
    command = [sys.executable, "-m", "trogdor", "agent", "-c", str(config), "-n", "n1", "--state", str(directory)]
    agent = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    assert agent.stdout is not None
    agent.stdout.readline()
    return agent, time.monotonic() - began


def family(pid: int) -> list[int]:
    """A process and its children: the agent and its warden."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def resident_mib(pid: int) -> tuple[float, float]:
    """Resident and proportional memory of a process, MiB: what is shared counts once in the second."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
    return tuple(int(text[text.index(word) + 1]) / 1024 for word in ("Rss:", "Pss:"))  # type: ignore[return-value]


def used_s(pid: int) -> float:
    """Processor seconds of a process so far, to the ns where the kernel tells them."""
    return sum(int((task / "schedstat").read_text().split()[0]) / 1e9 for task in Path(f"/proc/{pid}/task").iterdir())


def lags_ms(seconds: float) -> list[float]:
    """How late an urgent firing thread calls, each 10 ms."""
    clock, done = Clock(), threading.Event()
    thread, lags = FiringThread(clock, urgent=True), []
    began = clock.boot_ns()
    for step in range(1, int(seconds * 100)):
        instant = began + step * 10 * NS_PER_MS
        thread.at(instant, lambda instant=instant: lags.append((clock.boot_ns() - instant) / NS_PER_MS))  # type: ignore[misc]
    thread.at(began + round(seconds * 1000) * NS_PER_MS, done.set)
    done.wait()
    thread.close()
    return sorted(lags)


def at(values: list[float], share: float) -> float:
    """A percentile of sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=20)
    options.add_argument("--burners", type=int, default=3)
    asked = options.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        starts = []
        for _ in range(5):
            agent, took = start(Path(directory))
            starts.append(took)
            agent.send_signal(signal.SIGTERM)
            agent.wait()
        rows.append(("start to first answer, s (best of 5)", "1.48", "≤ 0.5", f"{min(starts):.2f}"))
        agent, _ = start(Path(directory))
        time.sleep(2)
        pids = family(agent.pid)
        memory = [resident_mib(pid) for pid in pids]
        rows.append(("idle memory, agent with warden, MiB", "117", "≤ 60", f"{sum(rss for rss, _ in memory):.0f}"))
        rows.append(("  of it its own, shared pages once", "", "", f"{sum(pss for _, pss in memory):.0f}"))
        before = sum(map(used_s, pids))
        time.sleep(asked.seconds)
        idle = (sum(map(used_s, pids)) - before) / asked.seconds * 100
        rows.append(("idle processor, % of a core", "0.7", "≤ 0.2", f"{idle:.2f}"))
        agent.send_signal(signal.SIGTERM)
        agent.wait()
    quiet = lags_ms(asked.seconds / 4)
    rows.append(
        ("firing lag p50 / p99, ms", "22–57 / 58–268", "p99 ≤ 2", f"{at(quiet, 0.5):.2f} / {at(quiet, 0.99):.2f}")
    )
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(asked.burners)]
    busy = lags_ms(asked.seconds / 4)
    for burner in burners:
        burner.kill()
        burner.wait()
    rows.append((f"  with {asked.burners} burners", "", "p99 ≤ 5", f"{at(busy, 0.5):.2f} / {at(busy, 0.99):.2f}"))
    print(f"{'':38} {'Java 4.1.0':>16} {'aim':>10} {'here':>14}")
    for what, java, aim, here in rows:
        print(f"{what:38} {java:>16} {aim:>10} {here:>14}")


if __name__ == "__main__":
    main()
