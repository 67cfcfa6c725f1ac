"""What can go wrong between a client and a daemon: each error names the address, and what to try."""

from collections.abc import Sequence
from dataclasses import dataclass


class ClientError(Exception):
    """A request that did not succeed; the message is what the user reads."""


class Unreachable(ClientError):
    """Nobody answers at the address, or not in time."""

    def __init__(self, address: str, reason: str, daemon: str = "coordinator", connected: bool = True) -> None:
        super().__init__(f"no {daemon} answers at {address}: {reason}")
        self.address = address
        self.reason = reason
        self.connected = connected
        """False: the request has certainly not arrived."""


class DeadlineExceeded(ClientError):
    """What was waited for did not come in time; the daemon answers, so it may still come."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a request: ``path`` is where in its JSON, such as ``spec.links[0].from``."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class Refused(ClientError):
    """The daemon will not do this; ``problems`` lists every reason, and nothing was changed."""

    def __init__(self, address: str, problems: Sequence[Problem], status: int = 400) -> None:
        lines = [str(problem) for problem in problems]
        shown = lines[0] if len(lines) == 1 else "".join(f"\n  {line}" for line in lines)
        super().__init__(f"{address} refused: {shown}")
        self.address = address
        self.problems = tuple(problems)
        self.status = status


class Conflict(Refused):
    """The id is taken by something else (409)."""


class NotFound(Refused):
    """There is no such task or route (404)."""


class Failed(ClientError):
    """The daemon answered with an error of its own (5xx), or with something that is no answer of a Trogdor."""

    def __init__(self, address: str, status: int, message: str) -> None:
        super().__init__(f"{address} failed with {status}: {message}. Its log says more.")
        self.address = address
        self.status = status


def error_of(address: str, status: int, message: str) -> ClientError:
    """The error that an HTTP status and upstream's ``message`` stand for."""
    problems = [Problem("", message)]
    if status == 404:
        return NotFound(address, problems, status)
    if status == 409:
        return Conflict(address, problems, status)
    if 400 <= status < 500 or status == 501:
        return Refused(address, problems, status)
    return Failed(address, status, message)
