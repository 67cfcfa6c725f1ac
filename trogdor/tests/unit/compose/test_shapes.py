"""Shapes of partitions: who still reaches whom."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trogdor.compose import shapes

names = st.integers(4, 12).map(lambda count: [f"n{at}" for at in range(count)])


def test_halves() -> None:
    assert shapes.halves(["a", "b", "c", "d", "e"]) == [["a", "b"], ["c", "d", "e"]]


def test_bridge_leaves_the_middle_node_reaching_both() -> None:
    assert shapes.bridge(["a", "b", "c", "d", "e"]) == [["a", "b"], ["d", "e"]]


def test_isolate() -> None:
    assert shapes.isolate("b", ["a", "b", "c"]) == [["b"], ["a", "c"]]


def test_between_is_both_ways_unless_told() -> None:
    groups = [["a"], ["b", "c"]]
    assert shapes.between(groups) == [("a", "b"), ("a", "c"), ("b", "a"), ("c", "a")]
    assert shapes.between(groups, one_way=True) == [("a", "b"), ("a", "c")]


@given(names)
def test_in_a_ring_each_reaches_a_majority_and_no_two_the_same(nodes: list[str]) -> None:
    cut = set(shapes.ring(nodes))
    assert cut, "something is cut"
    assert cut == {(target, source) for source, target in cut}, "both ways"
    reached = [frozenset(target for target in nodes if (source, target) not in cut) for source in nodes]
    assert all(len(group) > len(nodes) / 2 for group in reached)
    assert all(one != other for one, other in itertools.combinations(reached, 2))


@pytest.mark.parametrize(
    ("shape", "nodes"), [(shapes.halves, ["a"]), (shapes.bridge, ["a", "b"]), (shapes.ring, ["a", "b", "c"])]
)
def test_too_few_nodes_are_named(shape: object, nodes: list[str]) -> None:
    with pytest.raises(ValueError, match=" ".join(nodes)):
        shape(nodes)  # type: ignore[operator]


def test_a_repeated_node_is_named() -> None:
    with pytest.raises(ValueError, match="b: named more than once"):
        shapes.halves(["a", "b", "b"])
