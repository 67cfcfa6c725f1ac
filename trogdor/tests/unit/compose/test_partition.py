"""Shapes of partitions, as who still hears whom."""

import itertools

import pytest

from trogdor.compose import partition

FIVE = ["a", "b", "c", "d", "e"]


def heard(links: tuple[partition.Link, ...], nodes: list[str]) -> dict[str, set[str]]:
    """Node → the nodes that it hears, itself included."""
    gone = {(link.from_, link.to) for link in links}
    assert len(gone) == len(links)
    return {target: {source for source in nodes if (source, target) not in gone} for target in nodes}


def test_halves_hear_only_themselves() -> None:
    ears = heard(partition.halves(FIVE), FIVE)
    assert ears == {node: set("ab") if node in "ab" else set("cde") for node in FIVE}


def test_an_isolated_node_hears_nobody_and_the_others_each_other() -> None:
    ears = heard(partition.isolated("c", FIVE), FIVE)
    assert ears == {node: {"c"} if node == "c" else set("abde") for node in FIVE}


def test_one_way_leaves_the_other_way() -> None:
    ears = heard(partition.one_way(["a"], ["b", "c"]), FIVE)
    assert "a" not in ears["b"] | ears["c"]
    assert ears["a"] == set(FIVE)


def test_a_bridge_hears_both_sides_and_they_only_it() -> None:
    ears = heard(partition.bridge(FIVE), FIVE)
    assert ears["c"] == set(FIVE)
    assert ears["a"] == {"a", "b", "c"}
    assert ears["e"] == {"c", "d", "e"}


@pytest.mark.parametrize("count", range(3, 9))
def test_on_a_majority_ring_every_node_hears_a_majority_and_no_two_the_same(count: int) -> None:
    nodes = [f"n{number}" for number in range(count)]
    ears = heard(partition.majority_ring(nodes), nodes)
    assert all(node in hears and len(hears) == count // 2 + 1 for node, hears in ears.items())
    assert all(one != other for one, other in itertools.combinations(ears.values(), 2))


def test_only_the_links_that_arrive_at_one_node() -> None:
    groups = [["a"], ["b", "c"], ["d"]]
    assert set(partition.parted(groups, to="b")) == {link for link in partition.parted(groups) if link.to == "b"}
