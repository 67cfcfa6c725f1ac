"""Agents, wardens and the coordinator struck at random moments of faults: nothing stays, nothing wedges."""

import os
import random

import pytest

from lab.cases import AGENT_STRIKES, BOTH_STRIKES, errors
from lab.killing import Ground
from trogdor.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("kill")]

NODES, TIMES, ROUNDS = 8, 10, 2
"""Two of the nodes are not struck; a strike at the coordinator meets the faults of all the others."""


def test_whoever_is_killed_at_whatever_moment_no_fault_outlives_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    """``TROGDOR_KILL_SEED`` repeats the moments of a run."""
    seed = int(os.environ.get("TROGDOR_KILL_SEED") or random.randrange(10**6))
    with Lab(nodes=NODES) as lab, Ground(lab, seed) as ground:
        ground.strike_nodes(TIMES)
        ground.strike_coordinator(ROUNDS)
        with capsys.disabled():
            print(f"\n{ground.report()}")
        assert not ground.problems, f"seed {seed}:\n" + "\n".join(ground.problems)
        assert not ground.left(), f"seed {seed}"
        for strike in (*AGENT_STRIKES[:2], *BOTH_STRIKES):
            assert any(errors(ground.cases, strike)), f"seed {seed}: no fault was hit: {strike}"
