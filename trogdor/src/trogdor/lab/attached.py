"""Programs in nodes with the caller's terminal: run to their end, in a shell, or on all nodes at once."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from trogdor.lab.lab import Lab
from trogdor.lab.node import Node, NodeProcess

DATA_DIRECTORY = "/mnt/data"
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_END_TIMEOUT_S = 5.0


def run(node: Node, argv: Sequence[str]) -> int:
    """Run a program with the caller's standard streams, as the last thing this process does.

    Returns the program's exit code, −N for signal N. SIGINT, SIGTERM and SIGHUP are passed on to its group.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)  # until there is something to pass them on to
    with node.popen(argv, stdin=0) as process:
        for number in _FORWARDED:
            signal.signal(number, lambda got, _: process.send_signal(got, group=True))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        return process.wait()


def shell(node: Node, argv: Sequence[str]) -> int:
    """Run a program on a terminal of its own, joined to the caller's; returns its exit code."""
    ours, theirs = pty.openpty()
    was = termios.tcgetattr(0)
    signal.signal(signal.SIGWINCH, lambda *_: _copy_size(ours))
    _copy_size(ours)
    try:
        with node.popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, tty=True) as process:
            os.close(theirs)
            tty.setraw(0)
            _relay(ours)
            return process.wait(_END_TIMEOUT_S)
    finally:
        termios.tcsetattr(0, termios.TCSAFLUSH, was)
        os.close(ours)


def _copy_size(terminal: int) -> None:
    with suppress(OSError):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))


def _relay(terminal: int) -> None:
    """Copy both ways until the other side of the terminal is closed, or the caller's input ends."""
    while True:
        ready, _, _ = select.select([0, terminal], [], [])
        for source, sink in ((terminal, 1), (0, terminal)):
            if source in ready:
                try:
                    text = os.read(source, 65536)
                except OSError:  # EIO: the last program that had the terminal has ended
                    return
                if not text:
                    return
                while text:
                    text = text[os.write(sink, text) :]


def run_everywhere(lab: Lab, argv: Sequence[str], say: Callable[[str, str], None]) -> dict[str, int]:
    """Run a program on each node, told by NODE, PEERS and DATA_DIR which; returns the exit codes by node.

    NODE is the node's name, PEERS the others' with commas between, DATA_DIR a directory of the node's own.
    `say(node, line)` is called, from a thread of each node, with each line of output. On SIGINT, SIGTERM or
    SIGHUP the programs get SIGTERM, and 5 s; then KeyboardInterrupt is raised.
    """
    processes: dict[str, NodeProcess] = {}
    readers = []
    with _signals_readable() as signalled:
        for name, node in lab.nodes.items():
            node.path(DATA_DIRECTORY).mkdir(exist_ok=True)
            peers = ",".join(other for other in lab.nodes if other != name)
            environment = {**os.environ, "NODE": name, "PEERS": peers, "DATA_DIR": DATA_DIRECTORY}
            processes[name] = node.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
            readers.append(threading.Thread(target=_read_lines, args=(name, processes[name], say), daemon=True))
            readers[-1].start()
        interrupted = not _all_end(list(processes.values()), signalled)
        if interrupted:
            _end(list(processes.values()))
    codes = {name: process.wait() for name, process in processes.items()}
    for reader in readers:
        reader.join(1.0)
    if interrupted:
        raise KeyboardInterrupt
    return codes


def _all_end(processes: Sequence[NodeProcess], signalled: int) -> bool:
    """Wait; returns True when every process has ended, False as soon as `signalled` is readable."""
    poll = select.poll()
    for descriptor in (signalled, *(process.fileno() for process in processes)):
        poll.register(descriptor, select.POLLIN)
    left = len(processes)
    while left:
        for descriptor, _ in poll.poll():
            if descriptor == signalled:
                return False
            poll.unregister(descriptor)
            left -= 1
    return True


@contextmanager
def _signals_readable() -> Iterator[int]:
    """A descriptor that is readable once a signal has come. An exception out of a handler can get lost."""
    readable, written = os.pipe()
    os.set_blocking(written, False)
    before = {number: signal.signal(number, lambda *_: None) for number in _FORWARDED}
    signal.set_wakeup_fd(written)
    try:
        yield readable
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(readable)
        os.close(written)


def _read_lines(name: str, process: NodeProcess, say: Callable[[str, str], None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        say(name, line.decode(errors="replace").rstrip("\n"))


def _end(processes: Sequence[NodeProcess]) -> None:
    until = time.monotonic() + _END_TIMEOUT_S
    for process in processes:
        process.send_signal(signal.SIGTERM, group=True)
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            print(f"{process.args[0]} did not end on SIGTERM; it is killed", file=sys.stderr)
            process.send_signal(signal.SIGKILL, group=True)
