"""The smallest schedule that still fails: delta debugging over faults, nodes and times.

Pure: ``fails`` is asked about candidates, each a list of tasks; every step keeps only what fails. The way it goes
depends on the answers alone, so a hunt that was interrupted gets there again from the answers it has on disk.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

from trogdor.spec.schedule import ScheduledTask

Tasks = tuple[ScheduledTask, ...]
Fails = Callable[[Tasks], bool]

SHORTEST_MS = 20
"""Faults are not made shorter than this, and gaps not less wide: it is about what agents can keep apart."""

MAX_ROUNDS = 10


def shrink(
    tasks: Tasks, fails: Fails, nodes: frozenset[str], valid: Callable[[Tasks], bool] = lambda tasks: True
) -> Tasks:
    """The smallest schedule found that still fails, given one that does: fewer faults, fewer nodes, shorter, later.

    ``nodes`` are the names to leave out of specs. ``valid`` says whether a candidate can be carried out at all; those
    that cannot are not asked about.
    """
    known: dict[str, bool] = {}

    def ask(candidate: Tasks) -> bool:
        key = repr(candidate)
        if key not in known:
            known[key] = valid(candidate) and fails(candidate)
        return known[key]

    if ask(()):
        return ()
    for _ in range(MAX_ROUNDS):
        before = tasks
        tasks = fewer(tasks, ask)
        tasks = _each(tasks, ask, partial(smaller_specs, nodes=nodes))
        tasks = closer(tasks, ask)
        tasks = _each(tasks, ask, shorter)
        tasks = _each(tasks, ask, later)
        if tasks == before:
            break
    return tasks


def size(tasks: Tasks) -> tuple[int, int, int, int]:
    """What is made small, the most important first: faults, what they name, time in force, time in all."""
    return (
        len(tasks),
        sum(len(repr(task.spec)) for task in tasks),
        sum(task.duration_ms for task in tasks),
        max((task.end_ms for task in tasks), default=0),
    )


def fewer(tasks: Tasks, fails: Fails) -> Tasks:
    """ddmin (Zeller and Hildebrandt: Simplifying and Isolating Failure-Inducing Input, 2002): no task can be spared."""
    parts = 2
    while len(tasks) >= 2:
        chunks = _chunks(tasks, parts)
        rests = [tuple(task for other in chunks if other is not chunk for task in other) for chunk in chunks]
        if (found := next(filter(fails, chunks), None)) is not None:
            tasks, parts = found, 2
        elif parts > 2 and (found := next(filter(fails, rests), None)) is not None:
            tasks, parts = found, parts - 1
        elif parts >= len(tasks):
            break
        else:
            parts = min(2 * parts, len(tasks))
    return tasks


def _chunks(tasks: Tasks, parts: int) -> list[Tasks]:
    edges = [len(tasks) * part // parts for part in range(parts + 1)]
    return [tasks[begin:end] for begin, end in pairwise(edges)]


def _each(tasks: Tasks, fails: Fails, smaller: Callable[[ScheduledTask], Iterator[ScheduledTask]]) -> Tasks:
    """Each task in turn replaced by something smaller, again and again while the whole still fails."""
    for index in range(len(tasks)):
        shrunk = True
        while shrunk:
            shrunk = False
            for candidate in smaller(tasks[index]):
                replaced = (*tasks[:index], candidate, *tasks[index + 1 :])
                if fails(replaced):
                    tasks, shrunk = replaced, True
                    break
    return tasks


def shorter(task: ScheduledTask) -> Iterator[ScheduledTask]:
    """The task ended sooner: at once, half as long, three quarters as long."""
    for duration_ms in _less(task.duration_ms):
        yield task.model_copy(update={"duration_ms": duration_ms})


def later(task: ScheduledTask) -> Iterator[ScheduledTask]:
    """The task started later, its end where it was."""
    for duration_ms in _less(task.duration_ms):
        yield task.model_copy(update={"at_ms": task.end_ms - duration_ms, "duration_ms": duration_ms})


def _less(duration_ms: int) -> list[int]:
    tried = (SHORTEST_MS, duration_ms // 2, duration_ms * 3 // 4)
    return [ms for ms in dict.fromkeys(tried) if SHORTEST_MS <= ms < duration_ms]


def closer(tasks: Tasks, fails: Fails) -> Tasks:
    """The times without any fault made short, that before the first one too."""
    position = 0
    while True:
        gaps = [gap for gap in _gaps(tasks) if gap[0] >= position]
        if not gaps:
            return tasks
        begin_ms, end_ms = gaps[0]
        for left_ms in _less_gap(end_ms - begin_ms):
            by_ms = end_ms - begin_ms - left_ms
            moved = tuple(
                task.model_copy(update={"at_ms": task.at_ms - by_ms}) if task.at_ms >= end_ms else task
                for task in tasks
            )
            if fails(moved):
                tasks, end_ms = moved, end_ms - by_ms
                break
        position = end_ms


def _less_gap(gap_ms: int) -> list[int]:
    return [ms for ms in (SHORTEST_MS, gap_ms // 4, gap_ms // 2) if SHORTEST_MS <= ms < gap_ms]


def _gaps(tasks: Tasks) -> list[tuple[int, int]]:
    gaps, reached = [], 0
    for task in sorted(tasks, key=lambda task: task.at_ms):
        if task.at_ms > reached:
            gaps.append((reached, task.at_ms))
        reached = max(reached, task.end_ms)
    return gaps


def smaller_specs(task: ScheduledTask, nodes: frozenset[str]) -> Iterator[ScheduledTask]:
    """The task without one of the nodes or of the objects that its spec lists."""
    for spec in smaller_values(task.spec, nodes):
        yield task.model_copy(update={"spec": spec})


def smaller_values(value: Any, nodes: frozenset[str]) -> Iterator[Any]:
    """JSON with a node or an object less in one of its lists, or a node less in one of its maps; none is left empty.

    >>> list(smaller_values({"partitions": [["n1"], ["n2", "n3"]]}, frozenset({"n1", "n2", "n3"})))
    [{'partitions': [['n1'], ['n3']]}, {'partitions': [['n1'], ['n2']]}]
    """
    if isinstance(value, list):
        for index, item in enumerate(value):
            if len(value) > 1 and (isinstance(item, dict) or (isinstance(item, str) and item in nodes)):
                yield [*value[:index], *value[index + 1 :]]
        for index, item in enumerate(value):
            yield from ([*value[:index], smaller, *value[index + 1 :]] for smaller in smaller_values(item, nodes))
    elif isinstance(value, dict):
        if len(value) > 1:
            yield from ({k: v for k, v in value.items() if k != key} for key in value if key in nodes)
        for key, item in value.items():
            yield from ({**value, key: smaller} for smaller in smaller_values(item, nodes))
