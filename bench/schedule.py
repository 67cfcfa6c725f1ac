"""How long drawing takes: 100,000 tasks by a seed, the questions a set of them answers, a timeline of 10,000."""

import time
from collections.abc import Callable
from typing import Any

from trogdor.compose.fault_set import FaultSet
from trogdor.compose.schedule import draw, fixed
from trogdor.spec import parse
from trogdor.spec.schedule import RandomScheduleSpec
from trogdor.timeline.collect import of_schedule, topology_of_names
from trogdor.timeline.layout import Layout
from trogdor.timeline.svg import View
from trogdor.timeline.svg import draw as draw_svg

TASKS = 100_000
REPEATS = 3
NODES = topology_of_names([f"n{number}" for number in range(1, 6)])


def schedule(tasks: int) -> RandomScheduleSpec:
    """The example's schedule, for as many tasks."""
    fields = {**RandomScheduleSpec.example, "durationMs": 10**12, "maxFaults": tasks}
    spec = parse({"class": "RandomScheduleSpec", **fields})
    assert isinstance(spec, RandomScheduleSpec)
    return spec


def best_s(call: Callable[[], Any]) -> float:
    """The shortest of some runs, in s of processor time: all of it is computing, and others' load is not ours."""
    taken = []
    for _ in range(REPEATS):
        began = time.process_time()
        call()
        taken.append(time.process_time() - began)
    return min(taken)


def main() -> None:
    """Prints the table."""
    many = schedule(TASKS)
    faults = draw(many, NODES)
    ordered = FaultSet(faults, lambda fault: fault.start_ms, lambda fault: fault.end_ms)
    middle = faults[TASKS // 2].start_ms
    timeline = of_schedule(fixed(schedule(10_000), NODES), NODES)
    layout = Layout(timeline)
    part = View(1200, 0, timeline.end_ms / 50)
    rows = [
        ("draw 100,000 faults", best_s(lambda: draw(many, NODES)), "≤ 2 s"),
        ("draw 100,000 tasks with their specs", best_s(lambda: fixed(many, NODES)), ""),
        ("order 100,000 faults", best_s(lambda: FaultSet(faults, lambda f: f.start_ms, lambda f: f.end_ms)), ""),
        ("which are active at t, of 100,000", best_s(lambda: ordered.active(middle)), ""),
        ("which starts next, of 100,000", best_s(lambda: ordered.starts_next(middle)), ""),
        (f"lay out {len(timeline.bars)} bars of 10,000 tasks", best_s(lambda: Layout(timeline)), ""),
        ("draw all of them", best_s(lambda: draw_svg(timeline, View(1200), layout)), ""),
        ("draw a fiftieth of them", best_s(lambda: draw_svg(timeline, part, layout)), ""),
    ]
    print("| what | best of 3 | wanted |\n|---|---|---|")
    for what, taken_s, wanted in rows:
        shown = f"{taken_s:.2f} s" if taken_s >= 0.1 else f"{taken_s * 1000:.3f} ms"
        print(f"| {what} | {shown} | {wanted} |")


if __name__ == "__main__":
    main()
