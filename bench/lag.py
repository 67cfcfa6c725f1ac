"""How late and how far apart workers start, and how soon their end is seen: a coordinator and 5 agents in a lab.

    python bench/lag.py [--tasks N] [--burners B]

Printed beside Java Trogdor 4.1.0's figures. Starts are the agents' own ``startedMs`` in whole ms, in the coordinator's
clock; all nodes are on this machine, so that there is one clock. At last other processes keep every core busy.
"""

import argparse
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from trogdor.client import Client
from trogdor.lab import Lab

NODES = 5
DEADLINE_S = 120.0


def now_ms() -> float:
    """The wall clock, with fractions."""
    return time.time_ns() / 1e6


def p(values: list[float], part: float) -> float:
    """A percentile, of the values there are."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def row(what: str, java: str, aim: str, ours: str) -> None:
    """One line of the table."""
    print(f"{what:<50} {java:>22} {aim:>14}   {ours}", flush=True)


class Watch:
    """Follows the events in a thread of its own: starts and ends of workers, and when each task was seen DONE."""

    def __init__(self, client: Client) -> None:
        self.started: dict[str, dict[str, int]] = {}
        self.ended: dict[str, dict[str, int]] = {}
        self.seen_done_ms: dict[str, float] = {}
        self._after = client.events()[-1]["seq"]
        self._client = client
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        for event in self._client.follow(after=self._after, silence_s=60):
            task_id = event.get("taskId", "")
            if event["type"] == "worker":
                for name, into in (("startedMs", self.started), ("doneMs", self.ended)):
                    if name in event:
                        into.setdefault(task_id, {})[event["node"]] = event[name]
            elif event["type"] == "task" and event["state"] == "DONE":
                self.seen_done_ms[task_id] = now_ms()

    def until_done(self, task_id: str) -> None:
        """Returns once the task was seen DONE."""
        end = time.monotonic() + DEADLINE_S
        while task_id not in self.seen_done_ms:
            if time.monotonic() > end:
                raise SystemExit(f"{task_id} is not done after {DEADLINE_S} s")
            time.sleep(0.002)


def noop(**fields: Any) -> dict[str, Any]:
    return {"class": "NoOpTaskSpec", **fields}


def measure_ahead(client: Client, watch: Watch, tasks: int) -> None:
    """Tasks made a second ahead, one after another: the rows of a quiet machine."""
    lags, skews, seen = run_ahead(client, watch, "ahead", tasks)
    row("start lag, made 1 s ahead, ms: p50 / p99", "22-57 / 58-268", "p99 <= 2", spread(lags))
    row("skew of one task, ms: p50 / max", "15-73 / 50-197", "p99 <= 2", spread(skews))
    row("worker done to task seen DONE, ms", "up to 919", "p99 <= 50", spread(seen))


def spread(values: list[float]) -> str:
    """The middle and the far end of some values."""
    return f"p50 {median(values):.1f}, p99 {p(values, 0.99):.1f}, max {max(values):.1f}"


def run_ahead(client: Client, watch: Watch, name: str, tasks: int) -> tuple[list[float], list[float], list[float]]:
    """How late each worker started, how far apart those of a task, how late each task was seen DONE; ms."""
    lags: list[float] = []
    skews: list[float] = []
    seen: list[float] = []
    for number in range(tasks):
        task_id, start_ms = f"{name}{number}", int(now_ms()) + 1000
        client.create_task(task_id, noop(startMs=start_ms, durationMs=50), check=False)
        watch.until_done(task_id)
        starts = list(watch.started[task_id].values())
        lags += [start - start_ms for start in starts]
        skews.append(max(starts) - min(starts))
        seen.append(watch.seen_done_ms[task_id] - max(watch.ended[task_id].values()))
    return lags, skews, seen


def measure_busy(client: Client, watch: Watch, tasks: int, count: int) -> None:
    """The start lag while others keep every core busy."""
    with burners(count):
        lags, _, _ = run_ahead(client, watch, "busy", tasks)
    row(f"start lag with {count} processes that burn, ms", "", "p99 <= 5", spread(lags))


def measure_now(client: Client, watch: Watch, tasks: int) -> None:
    """Lone tasks for now."""
    delays: list[float] = []
    skews: list[float] = []
    for number in range(tasks):
        asked_ms = now_ms()
        client.create_task(f"now{number}", noop(durationMs=50), check=False)
        watch.until_done(f"now{number}")
        starts = list(watch.started[f"now{number}"].values())
        delays.append(max(starts) - asked_ms)
        skews.append(max(starts) - min(starts))
    row("for now, request to last start, ms: p50 / max", "26-30 / 63", "p99 <= 60", spread(delays))
    row("its skew, ms", "", "p99 <= 2", spread(skews))


def measure_burst(client: Client) -> None:
    """50 tasks of 100 ms at once."""
    ids = [f"burst{number}" for number in range(50)]
    for task_id in ids:
        client.create_task(task_id, noop(durationMs=100), check=False)
    errors = [error for task_id in ids if (error := client.wait_for_done(task_id, DEADLINE_S).get("error"))]
    row("50 tasks of 100 ms on 5 nodes: failed", "29-39", "0", "; ".join([str(len(errors)), *sorted(set(errors))]))


def burn() -> None:
    """Keeps a core busy."""
    while True:
        pass


@contextmanager
def burners(count: int) -> Iterator[None]:
    """So many processes that keep a core busy each."""
    processes = [multiprocessing.Process(target=burn, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def main() -> None:
    """Prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=20, help="of each kind")
    parser.add_argument("--burners", type=int, default=os.cpu_count(), help="processes that keep a core busy at last")
    arguments = parser.parse_args()
    with Lab(nodes=NODES) as lab:
        lab.start_daemons()
        client = Client(lab.target, DEADLINE_S)
        watch = Watch(Client(lab.target, DEADLINE_S))
        client.create_task("warm", noop(durationMs=10))
        watch.until_done("warm")
        row("", "Java 4.1.0", "aim", f"measured (load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores)")
        measure_ahead(client, watch, arguments.tasks)
        measure_now(client, watch, arguments.tasks)
        measure_burst(client)
        measure_busy(client, watch, arguments.tasks, arguments.burners)


if __name__ == "__main__":
    main()
