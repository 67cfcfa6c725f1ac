"""Agents, wardens and the coordinator struck at random moments of faults: how often, and how late all was gone.

    PYTHONPATH=trogdor/src:trogdor/tests python bench/kill.py [100] [--nodes 10] [--seed 1]

Ends with 1 and says what stayed or wedged, if anything did.
"""

import argparse
import random
import sys

from lab.killing import Ground
from trogdor.lab import Lab

NODES = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("times", type=int, nargs="?", default=100, help="how often each is done")
    parser.add_argument("--nodes", type=int, default=NODES, help="how many are struck at once, side by side")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="draws every moment")
    arguments = parser.parse_args()
    with Lab(nodes=arguments.nodes + 2) as lab, Ground(lab, arguments.seed) as ground:
        ground.strike_nodes(arguments.times)
        ground.strike_coordinator(-(-arguments.times // arguments.nodes))
        print(ground.report())
        found = [*ground.problems, *ground.left()]
    print("\n".join(found) or "nothing stayed, nothing wedged")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
