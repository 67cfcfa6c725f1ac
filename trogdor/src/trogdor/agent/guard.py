"""Stands between the agent and one command, so that nothing of the command is left when it or the agent ends.

Run as ``python guard.py DESCRIPTOR ARGV…``. Standard input and output are the command's own. The descriptor is a pipe
from the agent: ``t`` asks for SIGTERM to the command's group, ``k`` or the pipe's end for SIGKILL to all it ever
started. Its exit code is the command's, 128 + N for signal N. Standard library only: it is started with every workload.
"""

import ctypes
import os
import select
import signal
import sys
import time
from contextlib import suppress

CANNOT_START = 127
_PR_SET_CHILD_SUBREAPER = 36
_SWEEPS = 200
_SWEEP_S = 0.01


def main(orders: int, argv: list[str]) -> int:
    """Runs the command and returns its exit code, when nothing of it is left."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    child = _start(argv, orders)
    code = _attend(child, orders)
    _sweep()
    return code


def _start(argv: list[str], orders: int) -> int:
    began, begins = os.pipe()  # closed by exec: until then there is no group that a signal could reach
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            os.close(orders)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            os.execvp(argv[0], argv)
        except OSError as error:
            os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(CANNOT_START)
    os.close(begins)
    os.read(began, 1)
    os.close(began)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    return child


def _attend(child: int, orders: int) -> int:
    """Carries orders out until the command ends; its exit code."""
    ended = os.pidfd_open(child)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(orders, select.POLLIN | select.POLLHUP)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == ended:
                return _code(os.waitpid(child, 0)[1])
            order = os.read(orders, 1)
            if order == b"t":
                _signal_group(child, signal.SIGTERM)
                continue
            _signal_group(child, signal.SIGKILL)
            if not order:
                poll.unregister(orders)


def _code(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _signal_group(leader: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, number)


def _sweep() -> None:
    """Kills what the command left: orphans become children of this process, whatever session they made."""
    for _ in range(_SWEEPS):
        for child in _children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(_SWEEP_S)


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as listed:
            return [int(pid) for pid in listed.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return [int(pid) for pid in os.listdir("/proc") if pid.isdecimal() and _parent(pid) == os.getpid()]


def _parent(pid: str) -> int:
    with suppress(OSError), open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
