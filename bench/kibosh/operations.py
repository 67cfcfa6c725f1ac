"""The operations that are measured, each as a function of a directory and a number of rounds.

Run as a program, it does one of them and prints nanoseconds for each round: `operations.py NAME DIR ROUNDS THREADS`.
"""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

KIB, MIB = 1024, 1024 * 1024

Work = Callable[[Path, int], int]


def timed(run: Callable[[], object]) -> int:
    """Nanoseconds that it takes."""
    start = time.perf_counter_ns()
    run()
    return time.perf_counter_ns() - start


def prepared(path: Path, size: int) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(file, bytes(size), 0)
    return file


def write(size: int) -> Work:
    def work(base: Path, rounds: int) -> int:
        file, data, places = prepared(base / "file", MIB), bytes(size), MIB // size
        return timed(lambda: [os.pwrite(file, data, (at % places) * size) for at in range(rounds)])

    return work


def write_sequentially(base: Path, rounds: int) -> int:
    file, data = os.open(base / "file", os.O_WRONLY | os.O_CREAT), bytes(MIB)

    def run() -> None:
        for at in range(rounds):
            os.pwrite(file, data, at * MIB)
        os.close(file)

    return timed(run)


def fsync(base: Path, rounds: int) -> int:
    file, data = prepared(base / "file", MIB), bytes(4 * KIB)

    def run() -> None:
        for at in range(rounds):
            os.pwrite(file, data, at % 256 * 4 * KIB)
            os.fsync(file)

    return timed(run)


def read_cached(base: Path, rounds: int) -> int:
    file = prepared(base / "file", MIB)
    os.pread(file, MIB, 0)
    return timed(lambda: [os.pread(file, 4 * KIB, at % 256 * 4 * KIB) for at in range(rounds)])


def read_cold(base: Path, rounds: int) -> int:
    file = prepared(base / "file", 16 * MIB)
    os.fsync(file)

    def run() -> None:
        for at in range(rounds):
            if at % 4096 == 0:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.pread(file, 4 * KIB, at % 4096 * 4 * KIB)

    return timed(run)


def names(base: Path, count: int) -> list[str]:
    """Made beforehand: a `Path` takes longer than opening a file."""
    return [f"{base}/{at}" for at in range(count)]


def create(base: Path, rounds: int) -> int:
    files = names(base, rounds)
    return timed(lambda: [os.close(os.open(file, os.O_WRONLY | os.O_CREAT)) for file in files])


def open_and_close(base: Path, rounds: int) -> int:
    os.close(prepared(base / "file", 4 * KIB))
    file = f"{base}/file"
    return timed(lambda: [os.close(os.open(file, os.O_RDONLY)) for _ in range(rounds)])


def stat(base: Path, rounds: int) -> int:
    os.close(prepared(base / "file", 4 * KIB))
    file = f"{base}/file"
    return timed(lambda: [os.stat(file) for _ in range(rounds)])


def scandir(base: Path, rounds: int) -> int:
    for number in range(100):
        (base / str(number)).touch()
    return timed(lambda: [list(os.scandir(base)) for _ in range(rounds)])


def rename(base: Path, rounds: int) -> int:
    files = names(base, rounds + 1)
    Path(files[0]).touch()
    return timed(lambda: [os.rename(*pair) for pair in pairwise(files)])


def unlink(base: Path, rounds: int) -> int:
    files = names(base, rounds)
    for file in files:
        Path(file).touch()
    return timed(lambda: [os.unlink(file) for file in files])


#: Name → work, rounds.
OPERATIONS: dict[str, tuple[Work, int]] = {
    "write 4 KiB": (write(4 * KIB), 10_000),
    "write 512 B": (write(512), 10_000),
    "write 1 MiB, sequential": (write_sequentially, 64),
    "write 1 MiB, 256 times": (write_sequentially, 256),
    "write 4 KiB + fsync": (fsync, 300),
    "read 4 KiB, cached": (read_cached, 10_000),
    "read 4 KiB, cold": (read_cold, 4096),
    "create": (create, 1000),
    "open + close": (open_and_close, 3000),
    "stat": (stat, 10_000),
    "scandir of 100": (scandir, 200),
    "rename": (rename, 1000),
    "unlink": (unlink, 1000),
}


def main() -> None:
    name, base, rounds, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    work, _ = OPERATIONS[name]
    spent = [0] * threads

    def run(number: int) -> None:
        directory = base / f"bench-{number}"
        directory.mkdir()
        spent[number] = work(directory, rounds)
        shutil.rmtree(directory)

    workers = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(max(spent) / rounds / threads)


if __name__ == "__main__":
    main()
