"""Kibosh against the bare directory, and another Kibosh if there is one.

Every contender does each operation in turn, several times over; the table has the medians of the times.

    bench.py [--peer BINARY] [--on DIR …] [--runs N] [--only REGEX] [--no-programs]
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from felt import set_to_felt
from operations import OPERATIONS
from programs import programs, small_files

import kibosh

HERE = Path(__file__).parent
FAULT_ELSEWHERE = "kibosh, a fault elsewhere"


@contextmanager
def peer(binary: str, target: Path, mountpoint: Path) -> Iterator[Path]:
    """Another Kibosh, such as the original in C, whether it goes to the background or not."""
    command = [binary, "--target", target, mountpoint, "-o", "allow_other"]
    daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not (mountpoint / "kibosh_control").exists():
            if time.monotonic() > deadline:
                raise SystemExit(f"{binary} did not mount")
            time.sleep(0.05)
        yield mountpoint
    finally:
        subprocess.run(["umount", mountpoint], check=True)
        daemon.wait(30)


@contextmanager
def contenders(on: Path, peer_binary: str | None) -> Iterator[dict[str, Path]]:
    """Directories to work in, by name."""
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kibosh-bench-", dir=on)))
        base.chmod(0o755)
        made = [base / f"{name}{kind}" for name in "abc" for kind in ("-target", "-mount")]
        native = base / "native"
        for directory in (native, *made):
            directory.mkdir()
        found = {"native": native}
        for name, (target, mountpoint) in zip(
            ("kibosh", FAULT_ELSEWHERE), zip(made[::2], made[1::2], strict=True), strict=False
        ):
            fs = stack.enter_context(kibosh.Mount(target, mountpoint, allow_other=True, log=os.devnull))
            found[name] = mountpoint
            if name == FAULT_ELSEWHERE:
                fs.set([kibosh.Unreadable(prefix="/elsewhere", code=5), kibosh.Unwritable(prefix="/elsewhere", code=5)])
        if peer_binary:
            found["peer"] = stack.enter_context(peer(peer_binary, made[4], made[5]))
        yield found


def measure_operation(name: str, base: Path, threads: int) -> float:
    """Microseconds for each round."""
    rounds = max(OPERATIONS[name][1] // threads, 1)
    command = [sys.executable, HERE / "operations.py", name, base, str(rounds), str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1000


def measure_programs(found: dict[str, Path], runs: int, only: str) -> Iterator[tuple[str, str, dict[str, float]]]:
    with tempfile.TemporaryDirectory(prefix="kibosh-bench-") as directory:
        material = small_files(Path(directory))
        for name, work in programs().items():
            if not re.search(only, name):
                continue
            times: dict[str, list[float]] = {contender: [] for contender in found}
            for run in range(runs):
                for contender, base in found.items():
                    place = base / f"program-{run}-{name.split()[0]}"
                    place.mkdir(mode=0o755)
                    times[contender].append(work(place, material) * 1e6)
                    # The original cannot remove the symbolic links that it has made.
                    shutil.rmtree(place, ignore_errors=True)
            yield name, "", {contender: statistics.median(values) for contender, values in times.items()}


def measure(found: dict[str, Path], runs: int, only: str) -> Iterator[tuple[str, str, dict[str, float]]]:
    for name in OPERATIONS:
        for threads in (1, 4):
            if not re.search(only, name):
                continue
            times: dict[str, list[float]] = {contender: [] for contender in found}
            for _ in range(runs):
                for contender, base in found.items():
                    times[contender].append(measure_operation(name, base, threads))
            yield name, str(threads), {contender: statistics.median(values) for contender, values in times.items()}


def print_row(name: str, threads: str, medians: dict[str, float]) -> None:
    native = medians["native"]
    others = [value for contender, value in medians.items() if contender != "native"]
    cells = [f"{native:.1f}", *(f"{value:.1f} ({value / native:.1f}×)" for value in others)]
    print(f"| {name} | {threads} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="another Kibosh's binary")
    parser.add_argument("--on", action="append", type=Path, help="directories to measure on: /dev/shm and /var/tmp")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="operations and programs that this expression finds")
    parser.add_argument("--no-programs", action="store_true")
    options = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {os.uname().release}; µs, median of {options.runs}")
    for on in options.on or [Path("/dev/shm"), Path("/var/tmp")]:
        with contenders(on, options.peer) as found:
            print(f"\n**{on}**\n\n| | threads | {' | '.join(found)} |\n|---|---|{'---|' * len(found)}")
            for row in measure(found, options.runs, options.only):
                print_row(*row)
            if not options.only:
                felt = sorted(set_to_felt(found["kibosh"], 100))
                print(f"\nA fault set until it is felt: {statistics.median(felt):.0f} µs, at most {felt[-1]:.0f} µs.")
            if not options.no_programs:
                print(f"\n| | | {' | '.join(found)} |\n|---|---|{'---|' * len(found)}")
                for row in measure_programs(found, options.runs, options.only):
                    print_row(*row)


if __name__ == "__main__":
    main()
