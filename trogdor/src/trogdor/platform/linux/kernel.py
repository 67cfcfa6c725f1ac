"""What this kernel has, found out by trying it where nobody notices."""

import functools
import json
import subprocess

from trogdor.claim.model import CannotInject
from trogdor.claim.place import Place

COMMAND_S = 5.0


def device_towards(address: str, place: Place) -> str:
    """The device that packets to an address leave by. Raises CannotInject where there is no route."""
    with place.entered():
        done = subprocess.run(
            ["ip", "-j", "route", "get", address], capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
    if done.returncode:
        raise CannotInject(f"there is no route to {address} here: {done.stderr.strip()}")
    return str(json.loads(done.stdout)[0]["dev"])


@functools.cache
def has_netem() -> bool:
    """Whether the kernel has ``tc netem``: tried on a network namespace of its own, made and gone within the call."""
    words = ["unshare", "-n", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]
    try:
        return subprocess.run(words, capture_output=True, timeout=COMMAND_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
