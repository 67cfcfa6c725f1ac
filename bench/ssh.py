"""How long a command by ssh takes that ducktape runs on a lab's node.

tools/ducktape-python bench/ssh.py [--commands N]

The command is `true`. Beside that, what it costs of a processor: here in ducktape's process; there in sshd, the process
that it forks, and the shell which that becomes. The two work side by side for a part of the time.
"""

import argparse
import os
import time
from contextlib import closing
from typing import Any

from ducktape.cluster.cluster_spec import ClusterSpec

from trogdor.ducktape.lab import NODES, LabCluster
from trogdor.lab import LabError

AIM_MS = 5
WARM = 50


def served_ms(account: Any) -> float:
    """What the sshd that serves the account has taken of a processor, with its children that have ended."""
    text: bytes = account.ssh_output("cat /proc/$PPID/stat")
    ticks = text.rpartition(b")")[2].split()[11:15]
    return sum(map(int, ticks)) * 1000 / os.sysconf("SC_CLK_TCK")


def measure(account: Any, commands: int) -> tuple[list[float], float, float]:
    """How long each command took, sorted, and what one cost here and there; in milliseconds."""
    for _ in range(WARM):
        account.ssh("true")
    there, here = served_ms(account), time.process_time()
    took = []
    for _ in range(commands):
        began = time.perf_counter()
        account.ssh("true")
        took.append((time.perf_counter() - began) * 1000)
    here = (time.process_time() - here) * 1000
    return sorted(took), here / commands, (served_ms(account) - there) / commands


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=1000)
    commands = parser.parse_args().commands
    os.environ[NODES] = "1"
    try:
        cluster = LabCluster()
    except LabError as error:
        raise SystemExit(f"ssh: not measured, {error}") from None
    with closing(cluster):
        (node,) = cluster.alloc(ClusterSpec.simple_linux(1))
        took, here, there = measure(node.account, commands)
    p50, p99 = took[len(took) // 2], took[-max(1, len(took) // 100)]
    print(f"| {commands} commands by ssh | p50 | p99 | processor, here | there | aim |\n|---|---|---|---|---|---|")
    print(f"| `true` | {p50:.2f} ms | {p99:.2f} ms | {here:.2f} ms | {there:.2f} ms | ≤ {AIM_MS} ms |")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
