"""How long a lab takes to be up and down, without daemons: the median and the worst of several labs.

python bench/lab_nodes.py [--runs 5] [nodes …]
"""

import argparse
import statistics
import time

from trogdor.lab import Lab

AIMS_MS = {3: 100, 100: 1500}


def measure(nodes: int) -> tuple[float, float]:
    """Milliseconds until every node is up, and until nothing of them is left."""
    began = time.perf_counter()
    lab = Lab(nodes)
    up = time.perf_counter()
    lab.close()
    return (up - began) * 1000, (time.perf_counter() - up) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nodes", nargs="*", type=int, default=[3, 10, 50, 100])
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{'nodes':>5}  {'up p50':>9}  {'up max':>9}  {'aim':>9}  {'down p50':>9}")
    for nodes in arguments.nodes:
        ups, downs = zip(*(measure(nodes) for _ in range(arguments.runs)), strict=True)
        aim = f"{AIMS_MS[nodes]} ms" if nodes in AIMS_MS else ""
        print(
            f"{nodes:>5}  {statistics.median(ups):>6.0f} ms  {max(ups):>6.0f} ms  {aim:>9}"
            f"  {statistics.median(downs):>6.0f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main()
