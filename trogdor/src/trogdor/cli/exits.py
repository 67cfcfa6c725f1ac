"""What the commands' exit codes mean, and how a command says that it failed."""

import enum


class ExitCode(enum.IntEnum):
    """The exit codes of every command but upstream's ``client`` and ``agent-client``, which know 0 and 1."""

    OK = 0
    """The fault took and is healed; or there was nothing to complain of."""
    CHECK_FAILED = 1
    """The user's own check failed."""
    BAD_USAGE = 2
    """The command line or the spec is wrong; nothing was changed."""
    NOT_TAKEN = 3
    """The fault did not take, in whole or in part."""
    REMAINED = 4
    """It was healed late, or something remained."""
    UNREACHABLE = 5
    """A daemon does not answer."""
    IMPOSSIBLE = 6
    """This machine, or this node, cannot do it."""
    INTERRUPTED = 130
    """Interrupted, and healed."""


class Failure(Exception):
    """Ends a command: ``message`` goes to standard error, ``code`` is the exit code."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
