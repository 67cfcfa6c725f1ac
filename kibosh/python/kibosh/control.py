"""Talking to a mounted Kibosh through its control file.

This is all a tool needs to change the faults of a mount it did not make. It works with upstream's
Kibosh as well, as far as that goes.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kibosh.faults import Fault

__all__ = ["Control", "Refused", "StaleGeneration"]

CONTROL_FILE = "kibosh_control"
STATS_FILE = "kibosh_stats"


class Refused(ValueError):
    """The daemon refused a change. `errors` holds every problem as {"path": …, "message": …}."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        self.errors = errors
        super().__init__("; ".join(f"{error['path']}: {error['message']}".lstrip(": ") for error in errors))


class StaleGeneration(Refused):
    """Someone else changed the faults since they were read."""


class Control:
    """The control file of the Kibosh mounted at `mountpoint`. Every method raises OSError if it is gone."""

    def __init__(self, mountpoint: str | os.PathLike[str]) -> None:
        self.mountpoint = Path(mountpoint)

    def faults(self) -> list[Fault]:
        """The faults in force, in order."""
        return [Fault.from_json(fault) for fault in self.read()["faults"]]

    def set(self, faults: Iterable[Fault]) -> None:
        """Puts these faults in the place of all others. In force on return."""
        self.write({"faults": [fault.to_json() for fault in faults]})

    def set_owned(self, owner: str, faults: Iterable[Fault]) -> None:
        """Puts these faults in the place of the owner's; everybody else's stay. One step in the daemon."""
        self.write({"owner": owner, "faults": [fault.to_json() for fault in faults]})

    def clear(self) -> None:
        """Ends every fault."""
        self.set([])

    def lose_unsynced(self) -> None:
        """Loses what was written but not synced since a `LoseUnsynced` fault was set."""
        self.write({"loseUnsynced": True})

    def stats(self) -> dict[str, Any]:
        """Counts: `generation`, `requests`, and for each fault how often it was selected and fired."""
        stats: dict[str, Any] = json.loads((self.mountpoint / STATS_FILE).read_bytes())
        return stats

    def read(self) -> dict[str, Any]:
        """The control file's JSON."""
        document: dict[str, Any] = json.loads((self.mountpoint / CONTROL_FILE).read_bytes())
        return document

    def write(self, document: dict[str, Any]) -> None:
        """Writes one document. Raises Refused, and nothing has changed, if the daemon does not take it."""
        file = os.open(self.mountpoint / CONTROL_FILE, os.O_RDWR | os.O_TRUNC | os.O_CLOEXEC)
        try:
            data = json.dumps(document).encode()
            if os.write(file, data) != len(data):
                raise OSError(errno.EIO, "short write to the control file", str(self.mountpoint))
            try:
                os.fsync(file)
            except OSError as error:
                raise _refusal(file, error) from None
        finally:
            os.close(file)


def _refusal(file: int, error: OSError) -> Exception:
    """Why the daemon did not take a document, as the handle it was written to tells."""
    kinds = {
        errno.EINVAL: Refused,
        errno.ESTALE: StaleGeneration,
        errno.ENOSPC: Refused,
        errno.ENODATA: Refused,
    }
    try:
        return kinds[error.errno or 0](json.loads(os.pread(file, 1 << 20, 0))["errors"])
    except (KeyError, ValueError, OSError):
        return error
