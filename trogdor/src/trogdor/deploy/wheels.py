"""The wheels that a machine without a registry is installed from: our own, those it needs, and pip's."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from trogdor import __version__

_SOURCE = Path(__file__).resolve().parents[3]
TROGDOR, KIBOSH = "pytrogdor", "kibosh"


class NoWheels(Exception):
    """The wheels could not be made, or the directory does not hold what is needed; says why."""


@dataclass(frozen=True)
class Wheels:
    """A directory with a distribution's wheel, those of all that it needs, and pip's."""

    directory: Path
    distribution: str
    version: str
    digest: str
    """Of the distribution's own wheel."""

    @classmethod
    def read(cls, directory: Path, distribution: str = TROGDOR) -> Wheels:
        """The wheels in a directory. Raises NoWheels that says what it lacks."""
        own = sorted(directory.glob(f"{distribution}-*.whl"))
        lacks = [name for name, found in ((distribution, own), ("pip", [*directory.glob("pip-*.whl")])) if not found]
        if lacks or len(own) > 1:
            what = f"no wheel of {' and '.join(lacks)}" if lacks else f"{len(own)} wheels of {distribution}"
            raise NoWheels(f"{directory}: {what}; `pip wheel -w DIR {distribution} pip` makes a directory of wheels")
        digest = hashlib.sha256(own[0].read_bytes()).hexdigest()
        return cls(directory, distribution, own[0].name.split("-")[1], digest)


def make(directory: Path, distribution: str = TROGDOR, python: str = sys.executable) -> Wheels:
    """Make the wheels of this version, for machines with the Python version and platform of this one.

    Trogdor's from the source tree that this module is in, if there is one; else they are of pip's registry. Raises
    NoWheels with the end of what pip said.
    """
    wanted = f"{distribution}=={__version__}"
    if (_SOURCE / "pyproject.toml").is_file():
        wanted = str(_SOURCE if distribution == TROGDOR else _SOURCE.parent / distribution)
    command = [python, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "-w", str(directory), wanted, "pip"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise NoWheels(f"pip could not make the wheels:\n{(ran.stdout + ran.stderr)[-2000:]}")
    return Wheels.read(directory, distribution)
