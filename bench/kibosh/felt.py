"""How long it takes from the wish for a fault until a process feels it, on a file that is open and warm."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import kibosh


def set_to_felt(mountpoint: Path, rounds: int) -> Iterator[float]:
    """Microseconds from before the fault is set until the first read that has failed, once a round."""
    control, path = kibosh.Control(mountpoint), mountpoint / "felt"
    path.write_bytes(bytes(4096))
    file = os.open(path, os.O_RDONLY)
    try:
        for _ in range(rounds):
            os.pread(file, 4096, 0)
            start = time.perf_counter()
            control.set([kibosh.Unreadable(prefix="/felt", code=5)])
            while not _fails(file):
                pass
            yield (time.perf_counter() - start) * 1e6
            control.clear()
    finally:
        os.close(file)
        path.unlink()


def _fails(file: int) -> bool:
    try:
        os.pread(file, 4096, 0)
    except OSError:
        return True
    return False
