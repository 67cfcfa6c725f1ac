"""Whatever is started, stopped, killed and replayed in whatever order, the node is the fold of what is in force.

Real rules and real processes in a lab node; the sequences are Hypothesis's, the same in every run.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.claims_process import ClaimsProcess
from trogdor.lab import Lab

pytestmark = pytest.mark.lab

ADDRESSES = ["10.7.0.0/16", "10.7.1.0/24", "10.7.1.1", "10.0.0.0/8", "0.0.0.0/1", "fd00:7::/32", "fd00:7::1"]
SHAPES = [
    {"protocol": "any", "ports": [], "connections": "all", "action": "drop"},
    {"protocol": "tcp", "ports": ["9092-9094"], "connections": "new", "action": "reject"},
]

cuts = st.builds(
    lambda addresses, shape, hook: ["nft", {"addresses": addresses, "hook": hook, "local": [], "exempt": [], **shape}],
    st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=3, unique=True),
    st.sampled_from(SHAPES),
    st.sampled_from(["in", "out"]),
)
stops = st.builds(lambda number: ["process", number], st.sampled_from([0, 1]))
numbers = st.integers(0, 4)
steps = st.one_of(
    st.builds(lambda number, what: [["admit", number, what], ["fire", number]], numbers, st.one_of(cuts, stops)),
    st.builds(lambda number, what: [["admit", number, what]], numbers, st.one_of(cuts, stops)),
    st.builds(lambda number: [["fire", number]], numbers),
    st.builds(lambda number: [["release", number]], numbers),
    st.just([["rearm"]]),
)


@st.composite
def programs(draw: st.DrawFn) -> list[list[list[Any]]]:
    """Agents one after the other, each of which dies or closes; a number is admitted once while it lives."""
    epochs = []
    for _ in range(draw(st.integers(1, 3))):
        drawn = list(itertools.chain(*draw(st.lists(steps, min_size=1, max_size=6))))
        epochs.append([*_admitted_once(drawn), *([["die"]] if draw(st.booleans()) else [])])
    return epochs


def _admitted_once(drawn: list[list[Any]]) -> Iterator[list[Any]]:
    alive: set[int] = set()
    fired: set[int] = set()
    for step in drawn:
        verb, number = step[0], step[1] if len(step) > 1 else -1
        if (verb == "admit" and number in alive) or (verb == "fire" and (number in fired or number not in alive)):
            continue
        if verb == "admit":
            alive.add(number)
        elif verb == "fire":
            fired.add(number)
        elif verb == "release":
            alive.discard(number)
            fired.discard(number)
        yield step


@pytest.fixture(scope="module")
def node(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClaimsProcess]:
    with ClaimsProcess(lab.nodes["n3"], tmp_path_factory.mktemp("fold")) as process:
        yield process


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(epochs=programs())
def test_the_node_is_the_fold_of_what_is_in_force(
    node: ClaimsProcess, epochs: list[list[list[Any]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    state: Path = tmp_path_factory.mktemp("state")
    assert node("program", epochs=epochs, state=str(state)) == []
