"""The named boundaries of a claim's way, at each of which a test kills the process and looks at what is left.

``reached`` costs one comparison unless ``TROGDOR_KILL_AT`` names a point when the process starts.
"""

import os
import signal

ARMED = "TROGDOR_KILL_AT"

_SETTLE = ("undo.before", "undo.applied", "undone.before", "undone.synced")

POINTS = tuple(
    f"{who}:{step}"
    for who, steps in {
        "agent": (
            "opened", "claims.before", "claims.written", "claims.synced", "prepare.before", "prepared",
            "fired.before", "fired.written", "fire.applied", "fired.synced", "look.before", "seen",
            "undo.before", "undo.applied", "undone.before", "undone.written", "undone.synced",
            "discarded", "discarded.written", "look.again", "seen.gone",
        ),
        "replay": _SETTLE,
        "warden": ("kill.before", "killed", *_SETTLE),
        "heal": _SETTLE,
    }.items()
    for step in steps
)  # fmt: skip
"""``who:step``; the kill-point test meets every one of them with every kind of resource, or fails."""

_armed = os.environ.get(ARMED)


def reached(point: str) -> None:
    """Says that this process is at ``point`` of a claim's way. Ends it here when a test asked for that."""
    if _armed is not None and _armed == point:
        os.kill(os.getpid(), signal.SIGKILL)
