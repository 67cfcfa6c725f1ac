"""What is left of a failing schedule still fails, and nothing of it can be spared."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trogdor.hunt.shrink import SHORTEST_MS, Tasks, fewer, shrink, size, smaller_values
from trogdor.spec.schedule import ScheduledTask

NODES = ["n1", "n2", "n3", "n4", "n5"]
ALL = frozenset(NODES)


def pause(at_ms: int, duration_ms: int, *nodes: str, name: str = "etcd") -> ScheduledTask:
    spec = {"class": "ProcessPauseFaultSpec", "nodeNames": list(nodes), "match": {"name": name}}
    return ScheduledTask(at_ms=at_ms, duration_ms=duration_ms, spec=spec)


tasks_of = st.lists(
    st.builds(
        lambda at, duration, nodes: pause(at, duration, *nodes),
        st.integers(0, 60_000),
        st.integers(50, 10_000),
        st.lists(st.sampled_from(NODES), min_size=1, max_size=5, unique=True),
    ),
    min_size=1,
    max_size=30,
).map(tuple)
laws = settings(deadline=None, derandomize=True, max_examples=50)


def strikes(task: ScheduledTask, node: str) -> bool:
    return node in task.spec["nodeNames"]


def overlap_of(one: str, other: str, least_ms: int) -> Any:
    """Fails when two faults, one on each node, are in force together for so long."""

    def fails(tasks: Tasks) -> bool:
        return any(
            min(a.end_ms, b.end_ms) - max(a.at_ms, b.at_ms) >= least_ms
            for a in tasks
            for b in tasks
            if a is not b and strikes(a, one) and strikes(b, other)
        )

    return fails


@given(tasks_of, st.integers(1, 1000))
@laws
def test_of_a_bug_that_two_overlapping_faults_show_two_faults_on_one_node_each_are_left(
    tasks: Tasks, least_ms: int
) -> None:
    fails = overlap_of("n1", "n2", least_ms)
    if not fails(tasks):
        return
    left = shrink(tasks, fails, ALL)
    assert fails(left)
    assert len(left) == 2
    assert sorted(task.spec["nodeNames"] for task in left) == [["n1"], ["n2"]]
    longest = max(least_ms, SHORTEST_MS)
    assert all(task.duration_ms <= 2 * longest for task in left)


@given(tasks_of, st.lists(st.sampled_from(NODES), min_size=1, max_size=3, unique=True))
@laws
def test_what_is_left_fails_is_no_larger_and_needs_every_fault(tasks: Tasks, needed: list[str]) -> None:
    def fails(candidate: Tasks) -> bool:
        return all(any(strikes(task, node) for task in candidate) for node in needed)

    if not fails(tasks):
        return
    left = shrink(tasks, fails, ALL)
    assert fails(left)
    assert size(left) <= size(tasks)
    assert not [index for index in range(len(left)) if fails(left[:index] + left[index + 1 :])]
    assert sum(len(task.spec["nodeNames"]) for task in left) == len(needed)


@given(tasks_of)
@laws
def test_nothing_is_asked_twice_and_nothing_impossible_is_asked(tasks: Tasks) -> None:
    asked: list[str] = []

    def fails(candidate: Tasks) -> bool:
        asked.append(repr(candidate))
        assert possible(candidate)
        return any(strikes(task, "n3") for task in candidate)

    def possible(candidate: Tasks) -> bool:
        return all(len(task.spec["nodeNames"]) != 2 for task in candidate)

    if possible(tasks) and any(strikes(task, "n3") for task in tasks):
        shrink(tasks, fails, ALL, possible)
    assert len(asked) == len(set(asked))


@given(tasks_of)
@laws
def test_the_way_depends_on_the_answers_alone(tasks: Tasks) -> None:
    def asked() -> list[str]:
        seen: list[str] = []

        def fails(candidate: Tasks) -> bool:
            seen.append(repr(candidate))
            return len(repr(candidate)) % 3 != 0 and len(candidate) > 0

        shrink(tasks, fails, ALL)
        return seen

    assert asked() == asked()


def test_a_check_that_fails_without_any_fault_leaves_none() -> None:
    assert shrink((pause(0, 100, "n1"), pause(5, 100, "n2")), lambda tasks: True, ALL) == ()


def test_thirty_faults_of_which_two_matter_take_few_questions() -> None:
    tasks = tuple(pause(1000 * n, 5000, "n1" if n == 7 else "n2" if n == 10 else "n5") for n in range(30))
    fails, count = overlap_of("n1", "n2", 100), 0

    def counted(candidate: Tasks) -> bool:
        nonlocal count
        count += 1
        return bool(fails(candidate))

    assert len(fewer(tasks, counted)) == 2
    assert count <= 60


def test_idle_time_before_and_between_faults_is_taken_out() -> None:
    def fails(tasks: Tasks) -> bool:
        return len(tasks) == 2 and tasks[0].end_ms < tasks[1].at_ms

    first, second = shrink((pause(40_000, 1000, "n1"), pause(70_000, 1000, "n2")), fails, ALL)
    assert first.at_ms <= SHORTEST_MS
    assert second.at_ms - first.end_ms <= 2 * SHORTEST_MS


def test_a_fault_that_must_last_keeps_its_length_but_not_much_more() -> None:
    (left,) = shrink((pause(0, 30_000, "n1"),), lambda tasks: any(task.duration_ms >= 1000 for task in tasks), ALL)
    assert 1000 <= left.duration_ms < 1400


@pytest.mark.parametrize(
    ("value", "smaller"),
    [
        (["n1"], []),
        (["n1", "n2"], [["n2"], ["n1"]]),
        ([["n1", "n2"], ["n3"]], [[["n2"], ["n3"]], [["n1"], ["n3"]]]),
        ({"n1": {"x": 1}, "n2": {"x": 1}}, [{"n2": {"x": 1}}, {"n1": {"x": 1}}]),
        ({"links": [{"to": "n2"}]}, []),
        (["--flag", "n1", "n2"], [["--flag", "n2"], ["--flag", "n1"]]),
        ("n1", []),
    ],
)
def test_smaller_values_leave_one_out_and_nothing_empty(value: Any, smaller: list[Any]) -> None:
    assert list(smaller_values(value, ALL)) == smaller
