"""Kibosh: a pass-through file system that injects disk faults.

    with kibosh.Mount("/var/lib/db", "/mnt/db") as fs:
        fs.set([kibosh.Unreadable(prefix="/wal", code=errno.EIO)])

This package needs nothing but the standard library. Only the process that serves a mount loads the
compiled part.
"""

from kibosh.control import Control, Refused, StaleGeneration
from kibosh.faults import (
    Bandwidth,
    BitFlip,
    CorruptMode,
    Crash,
    Delay,
    DiskFull,
    Error,
    Fault,
    FsyncOnce,
    LoseUnsynced,
    ReadCorrupt,
    ReadDelay,
    TornWrite,
    Unknown,
    Unreadable,
    Unwritable,
    WriteCorrupt,
    WriteDelay,
)
from kibosh.mount import Mount, MountError, unmount

__all__ = [
    "Bandwidth",
    "BitFlip",
    "Control",
    "CorruptMode",
    "Crash",
    "Delay",
    "DiskFull",
    "Error",
    "Fault",
    "FsyncOnce",
    "LoseUnsynced",
    "Mount",
    "MountError",
    "ReadCorrupt",
    "ReadDelay",
    "Refused",
    "StaleGeneration",
    "TornWrite",
    "Unknown",
    "Unreadable",
    "Unwritable",
    "WriteCorrupt",
    "WriteDelay",
    "unmount",
]
