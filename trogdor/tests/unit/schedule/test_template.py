"""Templates: where nodes come to stand."""

from typing import Any

import pytest

from trogdor.spec.template import fill


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("$nodes", ["a", "b"]),
        ("$node", "a"),
        ("$HOME", "$HOME"),
        (["$nodes", "$others"], [["a", "b"], ["c", "d"]]),
        (["$node"], ["a", "b"]),
        (["x", "$other"], ["x", "c", "d"]),
        ({"$nodes": {"dev": "eth0"}}, {"a": {"dev": "eth0"}, "b": {"dev": "eth0"}}),
        ({"$nodes": {"name": "$node"}}, {"a": {"name": "a"}, "b": {"name": "b"}}),
        ([{"from": "$node", "to": "$other"}], [{"from": x, "to": y} for x in "ab" for y in "cd"]),
        ([{"me": "$node", "all": "$nodes"}], [{"me": "a", "all": ["a", "b"]}, {"me": "b", "all": ["a", "b"]}]),
        ([{"me": "$node", "list": ["$node"]}], [{"me": "a", "list": ["a"]}, {"me": "b", "list": ["b"]}]),
        ({"n": 5, "x": None}, {"n": 5, "x": None}),
    ],
)
def test_words_stand_for_nodes(template: Any, filled: Any) -> None:
    assert fill(template, ["a", "b"], ["c", "d"]) == filled


def test_without_others_a_list_of_others_is_empty() -> None:
    assert fill({"links": [{"to": "$other"}], "all": "$others"}, ["a"], []) == {"links": [], "all": []}


def test_words_within_the_spec_of_a_target_are_those_of_the_nodes_it_finds() -> None:
    template = {"class": "trogdor.schedule.TargetSpec", "role": "leader", "spec": {"nodeNames": "$nodes"}}
    assert fill([template, "$nodes"], ["n1"], ["n2"]) == [template, ["n1"]]
