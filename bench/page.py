"""The live page in real Chromium: how soon a fault made by its form is seen, and how it bears 10,000 tasks.

    PYTHONPATH=trogdor/src:trogdor/tests python bench/page.py [--runs 20] [--tasks 10000]

From the press of Create, as the page itself sees it: until the fault's bar stands on the timeline, and until it says a
probe has seen the fault, which is asked for 20 to 200 ms ahead; and from the coordinator's event of that verdict until
the page shows it (aim: 200 ms). With many tasks, each of its own: the same again, how long a drawing takes from its
request on, and the longest that the page did not answer while it zoomed.
Screenshots of both are kept beside those of the tests.
"""

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from lab.browsing import artefacts, browser, door
from trogdor.client import Client
from trogdor.lab import Lab

CONNECTIONS = 8
SPREAD_MS = 300_000
"""The many tasks begin within so much time, from an hour ahead: they are planned, and none runs meanwhile."""

WATCH = """id => {
  const seen = window.seen = {}
  let began
  const press = () => { began = performance.now() }
  document.getElementById("create").addEventListener("submit", press, { once: true, capture: true })
  const look = () => {
    const bar = document.querySelector(`#timeline .bar[data-task="${id}"]`)
    if (bar) seen.bar ??= performance.now() - began
    if (bar?.classList.contains("seen")) { seen.verdict ??= performance.now() - began; seen.atMs ??= Date.now() }
  }
  new MutationObserver(look).observe(document.getElementById("timeline"), { childList: true, subtree: true })
}"""
ZOOM = """async ([begin, end]) => {
  const took = [], frames = []
  let last = performance.now(), going = true
  const frame = now => { frames.push(now - last); last = now; if (going) requestAnimationFrame(frame) }
  requestAnimationFrame(frame)
  const press = name => () => document.getElementById(name).click()
  const buttons = ["in", "in", "in", "earlier", "later", "out", "out"]
  const moves = [press("all"), () => look(begin, end), ...buttons.map(press)]
  for (const move of moves) {
    const began = performance.now(), before = document.querySelector("#timeline svg")
    move()
    while (document.querySelector("#timeline svg") === before) await new Promise(resolve => setTimeout(resolve, 5))
    took.push(performance.now() - began)
  }
  going = false
  return { took, longest: Math.max(...frames) }
}"""


def create(page: Any, client: Client, name: str) -> dict[str, float]:
    """One fault by the form; ms until its bar, its verdict, and from the verdict's event to the page."""
    page.get_by_role("button", name="New task").click()
    page.get_by_label("What", exact=True).select_option(label="NetworkPartitionFaultSpec")
    page.get_by_label("Task id").fill(name)
    page.get_by_label("For, in seconds").fill("600")
    before: int = page.evaluate("fetch('/page/span').then(answer => answer.json()).then(span => span.seq)")
    page.evaluate(WATCH, name)
    page.get_by_role("button", name="Create").click()
    page.wait_for_function("() => seen.verdict !== undefined", polling=50, timeout=60_000)
    seen: dict[str, float] = page.evaluate("seen")
    told = [event["atMs"] for event in client.events(after=before) if event.get("taskId") == name and is_seen(event)]
    client.stop_task(name)
    client.wait_for_done(name, deadline_s=60)
    return {**seen, "shown": seen["atMs"] - min(told)}


def is_seen(event: dict[str, Any]) -> bool:
    status = event.get("status")
    return isinstance(status, dict) and status.get("verdict") == "seen"


def say(what: str, values: list[float]) -> None:
    ordered = sorted(values)
    print(f"{what:60}  {ordered[0]:7.0f}  {median(ordered):7.0f}  {ordered[-1]:7.0f}", flush=True)


def measure(page: Any, client: Client, runs: int, words: str) -> None:
    found = [create(page, client, f"by-form-{len(words)}-{number}") for number in range(runs)]
    say(f"from Create until the bar stands{words}", [run["bar"] for run in found])
    say(f"from Create until the fault is seen{words}", [run["verdict"] for run in found])
    say(f"from the verdict until it is shown{words}", [run["shown"] for run in found])


def many_tasks(lab: Lab, tasks: int) -> tuple[int, int]:
    """So many NoOps of a second, side by side over some minutes that are to come; from when to when, in ms."""
    first_ms = int(time.time() * 1000) + 3_600_000

    def share(first: int) -> None:
        with lab.client() as client:
            for number in range(first, tasks, CONNECTIONS):
                start_ms = first_ms + number * SPREAD_MS // tasks
                client.create_task(f"many-{number}", {"class": "NoOpTaskSpec", "startMs": start_ms, "durationMs": 1000})

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(share, range(CONNECTIONS)))
    return first_ms, first_ms + SPREAD_MS


def opened(chromium: Any, address: str) -> Any:
    page = chromium.new_page(viewport={"width": 1280, "height": 800})
    page.goto(address)
    page.get_by_role("status").get_by_text("live", exact=True).wait_for(timeout=60_000)
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=10_000)
    arguments = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print(f"{'ms':60}  {'min':>7}  {'p50':>7}  {'max':>7}")
    with Lab(nodes=3) as lab, browser() as chromium:
        lab.start_daemons()
        with door(lab.runtime / "coordinator.sock") as address, lab.client() as client:
            page = opened(chromium, address)
            measure(page, client, arguments.runs, "")
            page.close()  # what one viewer costs is measured
            span = many_tasks(lab, arguments.tasks)
            beside = f", beside {arguments.tasks} tasks"
            page = opened(chromium, address)
            measure(page, client, arguments.runs, beside)
            moved = page.evaluate(ZOOM, span)
            say(f"a drawing{beside}", moved["took"])
            say(f"the longest frame meanwhile{beside}", [moved["longest"]])
            page.screenshot(path=artefacts() / "page-many.png")


if __name__ == "__main__":
    main()
