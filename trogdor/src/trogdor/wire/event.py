"""An event of the coordinator in words: for logs, webhooks, the terminal."""

from collections.abc import Mapping
from typing import Any

_NAMED = ("type", "taskId", "node", "state", "text")


def words_of(event: Mapping[str, Any]) -> str:
    """One line: what it is, of what, where, and how it went."""
    status = event.get("status")
    verdict = status.get("verdict") if isinstance(status, Mapping) else None
    words = [*map(event.get, _NAMED), verdict, event.get("error"), event.get("reason")]
    line = "  ".join([str(word) for word in words if word])
    return line if line.isprintable() else "  ".join([" ".join(str(word).split()) for word in words if word])
