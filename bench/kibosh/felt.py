"""How quickly faults are felt, and how little by those whom they are not for; each measured many times over."""

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from operations import OPERATIONS

import kibosh

PAGE = bytes(4096)
SETTLED_S = 0.02
ELSEWHERE = [kibosh.Unreadable(prefix="/elsewhere", code=5), kibosh.Unwritable(prefix="/elsewhere", code=5)]
#: Operation → rounds in one measurement, some 30 ms.
BESIDE_A_FAULT = {
    "write 4 KiB": 10_000,
    "write 4 KiB + fsync": 300,
    "read 4 KiB, cached": 5_000,
    "create": 200,
    "open + close": 400,
    "stat": 3_000,
    "rename": 200,
    "unlink": 300,
}


@contextmanager
def opened(path: Path) -> Iterator[int]:
    path.write_bytes(PAGE)
    file = os.open(path, os.O_RDWR)
    try:
        yield file
    finally:
        os.close(file)
        path.unlink()


def set_to_felt(mountpoint: Path, rounds: int) -> Iterator[float]:
    """Milliseconds from before a fault is set until the first read of an open, warm file that fails, once a round."""
    control = kibosh.Control(mountpoint)
    with opened(mountpoint / "felt") as file:
        for _ in range(rounds):
            os.pread(file, 4096, 0)
            start = time.perf_counter()
            control.set([kibosh.Unreadable(prefix="/felt", code=5)])
            while not _fails(file):
                pass
            yield (time.perf_counter() - start) * 1e3
            control.clear()


def _fails(file: int) -> bool:
    try:
        os.pread(file, 4096, 0)
    except OSError:
        return True
    return False


def killed_to_dead(mountpoint: Path, rounds: int) -> Iterator[float]:
    """Milliseconds from SIGKILL until the death of a process whose write, read or fsync is delayed, in turn."""
    control = kibosh.Control(mountpoint)
    with opened(mountpoint / "killed") as file:
        uses: list[Callable[[], object]] = [
            lambda: os.pwrite(file, PAGE, 0),
            lambda: os.pread(file, 4096, 0),
            lambda: os.fsync(file),
        ]
        operations = ["write", "read", "fsync"]
        for at in range(rounds):
            control.set([kibosh.Delay(prefix="/killed", operations=[operations[at % 3]], delay_ms=600_000)])
            child = os.fork()
            if not child:
                uses[at % 3]()
                os._exit(1)
            while not control.stats()["faults"][0]["fired"]:
                time.sleep(0.001)
            start = time.perf_counter()
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            yield (time.perf_counter() - start) * 1e3
            if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
                raise SystemExit("a delayed call ended before its caller was killed")
        control.clear()


def beside_a_fault(mountpoint: Path, name: str, pairs: int) -> Iterator[float]:
    """How many times as long an operation takes while there is a fault for other files, of the same mount."""
    control, (work, _) = kibosh.Control(mountpoint), OPERATIONS[name]

    def once(number: int, faults: list[kibosh.Fault]) -> int:
        control.set(faults)
        # At a new fault the daemon looks for users of the target outside of the mount; this waits for what it finds.
        control.stats()
        time.sleep(SETTLED_S)
        directory = mountpoint / f"beside-{number}"
        directory.mkdir()
        spent = work(directory, BESIDE_A_FAULT[name])
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
        return spent

    for pair in range(pairs):
        # Whatever comes first takes no advantage of it.
        with_fault_first = pair % 2 == 0
        first = once(2 * pair, ELSEWHERE if with_fault_first else [])
        second = once(2 * pair + 1, [] if with_fault_first else ELSEWHERE)
        yield first / second if with_fault_first else second / first
    control.clear()


def quartiles(values: Iterator[float]) -> str:
    found = sorted(values)
    low, median, high = statistics.quantiles(found, n=4)
    return f"{median:.3g} | {low:.3g} to {high:.3g} | {found[-1]:.3g} | {len(found)}"


def print_felt(mountpoint: Path, rounds: int) -> None:
    print("\n| | median | quartiles | most | measured |\n|---|---|---|---|---|")
    print(f"| from set to felt, ms | {quartiles(set_to_felt(mountpoint, rounds))} |", flush=True)
    print(
        f"| from SIGKILL in a delayed call to death, ms | {quartiles(killed_to_dead(mountpoint, rounds))} |", flush=True
    )
    for name in BESIDE_A_FAULT:
        ratios = quartiles(beside_a_fault(mountpoint, name, max(rounds // 4, 2)))
        print(f"| {name}, a fault elsewhere ÷ none | {ratios} |", flush=True)
