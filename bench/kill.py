"""Agents, wardens and the coordinator struck at random moments of faults: how often, and how late all was gone.

    PYTHONPATH=trogdor/src:trogdor/tests python bench/kill.py [100] [--nodes 10] [--seed 1] [--strike "agent killed"]…

Ends with 1 and says what stayed or wedged, if anything did. Ctrl-C and SIGTERM end it with the counts so far.
"""

import argparse
import random
import signal
import sys
import threading
import time

from lab.cases import COORDINATOR_STRIKES, STRIKES
from lab.killing import Ground
from trogdor.lab import Lab

NODES = 10
TELL_S = 10.0


def tell(ground: Ground, total: int) -> None:
    """Says on stderr, again and again, how far it has come."""
    began = time.monotonic()
    while True:
        time.sleep(TELL_S)
        print(f"{len(ground.over())} of {total} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("times", type=int, nargs="?", default=1, help="how often each is done")
    parser.add_argument("--nodes", type=int, default=NODES, help="how many are struck at once, side by side")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="draws every moment")
    parser.add_argument("--strike", action="append", choices=STRIKES, help="only this one; may be given several times")
    arguments = parser.parse_args()
    strikes = arguments.strike or STRIKES
    rounds = -(-arguments.times // arguments.nodes)
    total = sum(rounds * arguments.nodes if each in COORDINATOR_STRIKES else arguments.times for each in strikes)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Lab(nodes=arguments.nodes + 2) as lab, Ground(lab, arguments.seed) as ground:
        threading.Thread(target=tell, args=[ground, total], daemon=True).start()
        try:
            ground.strike_nodes(arguments.times, strikes)
            ground.strike_coordinator(rounds, strikes)
        except KeyboardInterrupt:
            print(f"{ground.report()}\nended after {len(ground.over())} of {total}", flush=True)
            return 130
        print(ground.report(), *ground.problems, sep="\n", flush=True)
        left = ground.left()
        found = [*ground.problems, *left]
        print(*(left if found else ["nothing stayed, nothing wedged"]), sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
