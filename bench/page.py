"""The live page in real Chromium: how soon a fault made by its form is seen, and how it bears 10,000 tasks.

    PYTHONPATH=trogdor/src:trogdor/tests python bench/page.py [--runs 20] [--tasks 10000]

From the press of Create, as the page itself sees it: until the fault's bar stands on the timeline, and until it says a
probe has seen the fault, which is asked for 20 to 200 ms ahead (aim: 200 ms). With many tasks: how long a drawing takes
from its request on, and the longest that the page did not answer while it zoomed.
Screenshots of both are kept beside those of the tests.
"""

import argparse
from statistics import median
from typing import Any

from lab.browsing import artefacts, browser, door
from trogdor.lab import Lab

WATCH = """id => {
  const began = performance.now(), seen = window.seen = {}
  const look = () => {
    const bar = document.querySelector(`#timeline .bar[data-task="${id}"]`)
    if (bar) seen.bar ??= performance.now() - began
    if (bar?.classList.contains("seen")) seen.verdict ??= performance.now() - began
  }
  new MutationObserver(look).observe(document.getElementById("timeline"), { childList: true, subtree: true })
}"""
ZOOM = """async () => {
  const took = [], frames = []
  let last = performance.now(), going = true
  const frame = now => { frames.push(now - last); last = now; if (going) requestAnimationFrame(frame) }
  requestAnimationFrame(frame)
  for (const button of ["all", "in", "in", "in", "earlier", "later", "out", "out"]) {
    const began = performance.now(), before = document.querySelector("#timeline svg")
    document.getElementById(button).click()
    while (document.querySelector("#timeline svg") === before) await new Promise(resolve => setTimeout(resolve, 5))
    took.push(performance.now() - began)
  }
  going = false
  return { took, longest: Math.max(...frames) }
}"""


def create(page: Any, number: int) -> dict[str, float]:
    """One fault by the form; ms until its bar, and until its verdict."""
    name = f"by-form-{number}"
    page.get_by_role("button", name="New task").click()
    page.get_by_label("What", exact=True).select_option(label="NetworkPartitionFaultSpec")
    page.get_by_label("Task id").fill(name)
    page.get_by_label("For, in seconds").fill("600")
    page.evaluate(WATCH, name)
    page.get_by_role("button", name="Create").click()
    page.wait_for_function("() => seen.verdict !== undefined", timeout=60_000)
    seen: dict[str, float] = page.evaluate("seen")
    return seen


def say(what: str, values: list[float]) -> None:
    ordered = sorted(values)
    print(f"{what:44}  {ordered[0]:7.0f}  {median(ordered):7.0f}  {ordered[-1]:7.0f}", flush=True)


def many_tasks(lab: Lab, tasks: int) -> None:
    """One schedule of so many NoOps, over two minutes that are to come."""
    at = [{"atMs": number * 120_000 // tasks, "durationMs": 200, "spec": {"class": "NoOpTaskSpec"}}
          for number in range(tasks)]  # fmt: skip
    with lab.client() as client:
        client.create_task("many", {"class": "FixedScheduleSpec", "durationMs": 200_000, "tasks": at})
        client.wait_for_done("many", deadline_s=600)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=10_000)
    arguments = parser.parse_args()
    with Lab(nodes=3) as lab, browser() as chromium:
        lab.start_daemons()
        with door(lab.runtime / "coordinator.sock") as address:
            page = chromium.new_page(viewport={"width": 1280, "height": 800})
            page.goto(address)
            page.get_by_role("status").get_by_text("live", exact=True).wait_for()
            print(f"{'ms':44}  {'min':>7}  {'p50':>7}  {'max':>7}")
            runs = []
            for number in range(arguments.runs):
                runs.append(create(page, number))
                with lab.client() as client:
                    client.stop_task(f"by-form-{number}")
                    client.wait_for_done(f"by-form-{number}", deadline_s=60)
            say("from Create until the bar stands", [run["bar"] for run in runs])
            say("from Create until the fault is seen", [run["verdict"] for run in runs])
            many_tasks(lab, arguments.tasks)
            page.reload()
            page.get_by_role("status").get_by_text("live", exact=True).wait_for()
            moved = page.evaluate(ZOOM)
            say(f"a drawing with {arguments.tasks} tasks", moved["took"])
            print(f"{'the longest frame meanwhile':44}  {'':7}  {'':7}  {moved['longest']:7.0f}")
            page.screenshot(path=artefacts() / "page-many.png")


if __name__ == "__main__":
    main()
