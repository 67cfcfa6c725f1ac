"""Kibosh against the bare directory, and another Kibosh if there is one.

Every contender does each operation in turn, and all of that again and again, until the time is out; the tables have the
medians of the times.

    bench.py [--peer BINARY] [--on DIR …] [--runs N] [--minutes N] [--only REGEX] [--no-programs]
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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from felt import print_felt
from operations import OPERATIONS
from programs import programs, small_files

import kibosh

HERE = Path(__file__).parent
PLACES = [Path("/dev/shm"), Path("/var/tmp")]
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


def measure_operation(name: str, threads: int, base: Path) -> float:
    """Microseconds for each round."""
    rounds = max(OPERATIONS[name][1] // threads, 1)
    command = [sys.executable, HERE / "operations.py", name, base, str(rounds), str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1000


def measure_program(work: Callable[[Path, Path], float], material: Path, base: Path) -> float:
    """Microseconds for all it does."""
    place = Path(tempfile.mkdtemp(prefix="program-", dir=base))
    place.chmod(0o755)
    try:
        return work(place, material) * 1e6
    finally:
        # The original cannot remove the symbolic links that it has made.
        shutil.rmtree(place, ignore_errors=True)


@dataclass
class Row:
    """What is done in each directory, and the microseconds it took there."""

    name: str
    contenders: dict[str, Path]
    run: Callable[[Path], float]
    times: dict[str, list[float]]

    def measure(self) -> None:
        """Once in each directory; whoever is the first has no advantage of it in the end."""
        order = list(self.contenders)
        first = max((len(taken) for taken in self.times.values()), default=0) % len(order)
        for contender in order[first:] + order[:first]:
            self.times[contender].append(self.run(self.contenders[contender]))

    def text(self) -> str:
        medians = {contender: statistics.median(taken) for contender, taken in self.times.items() if taken}
        native = medians.pop("native", 0.0)
        if len(medians) < len(self.contenders) - 1:
            return f"| {self.name} | the time was out |"
        others = [f"{value:.1f} ({value / native:.1f}×)" for value in medians.values()]
        return f"| {self.name} | {native:.1f} | {' | '.join(others)} |"


def rows(on: Path, found: dict[str, Path], material: Path, only: str, with_programs: bool) -> list[Row]:
    """By four threads on the first place alone: it is processors that they need."""
    made = []

    def add(name: str, run: Callable[[Path], float]) -> None:
        if re.search(only, name):
            made.append(Row(name, found, run, {contender: [] for contender in found}))

    for threads in (1, 4) if on == PLACES[0] else (1,):
        for name in OPERATIONS:
            add(f"{name}, {threads} threads" if threads > 1 else name, partial(measure_operation, name, threads))
    for name, work in programs().items() if with_programs else ():
        add(name, partial(measure_program, work, material))
    return made


def measure_rounds(all_rows: list[Row], runs: int, until: float) -> int:
    """Each row once, then again, so that a busy minute meets all alike; how many times, before the time was out."""
    start = time.monotonic()
    for done in range(runs):
        each = (time.monotonic() - start) / max(done, 1)
        if done and time.monotonic() + each > until:
            return done
        for row in all_rows:
            if time.monotonic() > until:
                return done
            row.measure()
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="another Kibosh's binary")
    parser.add_argument("--on", action="append", type=Path, help="directories to measure on: /dev/shm and /var/tmp")
    parser.add_argument("--runs", type=int, default=5, help="at most so many of each")
    parser.add_argument("--minutes", type=float, default=9, help="no run begins that would end later")
    parser.add_argument("--only", default="", help="operations and programs that this expression finds")
    parser.add_argument("--no-programs", action="store_true")
    options = parser.parse_args()
    until = time.monotonic() + options.minutes * 60
    places = options.on or PLACES
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="kibosh-bench-"))
        material = small_files(Path(directory))
        found = {on: stack.enter_context(contenders(on, options.peer)) for on in places}
        began = os.getloadavg()[0]
        if not options.only:
            print_felt(found[places[0]]["kibosh"], 100)
        tables = {on: rows(on, found[on], material, options.only, not options.no_programs) for on in places}
        runs = measure_rounds([row for table in tables.values() for row in table], options.runs, until)
        load = f"load {began:.1f} to {os.getloadavg()[0]:.1f}"
        print(f"\n{os.cpu_count()} CPUs, {load}, {os.uname().release}; µs, medians of {max(runs, 1)} interleaved runs")
        for on, table in tables.items():
            print(f"\n**{on}**\n\n| | {' | '.join(found[on])} |\n|---|{'---|' * len(found[on])}")
            print("\n".join(row.text() for row in table), flush=True)


if __name__ == "__main__":
    main()
