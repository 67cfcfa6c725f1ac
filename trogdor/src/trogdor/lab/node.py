"""A node as its owner sees it: its files, and its pid 1, asked to start processes and open sockets there."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from trogdor.lab import control
from trogdor.lab.plan import LOG_DIRECTORY, NodePlan, Plan

Socket = socket.socket
Output = int | IO[Any] | None


@dataclass(frozen=True)
class ProcessInfo:
    """A process of a node; `pid` and `parent` as the node counts, `state` the letter of proc(5)."""

    pid: int
    parent: int
    state: str
    command: str


class NodeProcess:
    """A process in a node, with the part of subprocess.Popen that does not read.

    `pid` is the node's count; `host_pid` the caller's, None where the caller cannot see it.
    `returncode` is None until `poll` or `wait` saw the end, −N for signal N, and −9 if the node is gone.
    """

    def __init__(self, node: Node, args: Sequence[str], pid: int, pidfd: int, exit_pipe: int) -> None:
        self.args, self.pid = list(args), pid
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None
        self.stderr: IO[bytes] | None = None
        self.returncode: int | None = None
        self.host_pid = control.pid_of(pidfd)
        self._node, self._pidfd, self._exit_pipe = node, pidfd, exit_pipe

    def fileno(self) -> int:
        """The pidfd: readable when the process has ended."""
        return self._pidfd

    def poll(self) -> int | None:
        """The exit code, or None while the process runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait up to `timeout` seconds for the end. Raises subprocess.TimeoutExpired."""
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None and control.is_readable(self._exit_pipe, timeout):
            self.returncode = int(os.read(self._exit_pipe, 16) or -signal.SIGKILL)
        return self.returncode

    def send_signal(self, number: int, group: bool = False) -> None:
        """Send a signal to the process, or to its whole group; one that has ended is left in peace."""
        with suppress(ProcessLookupError, control.NodeGone):
            control.ask(self._node.socket_path, "signal", pid=self.pid, signal=int(number), group=group)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Forget the process; it is not stopped."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()
        for descriptor in (self._pidfd, self._exit_pipe):
            if descriptor >= 0:
                os.close(descriptor)
        self._pidfd = self._exit_pipe = -1

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.send_signal(signal.SIGKILL, group=True)
        self.wait()
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_exit_pipe"):
            self.close()


class Node:
    """A machine of the lab."""

    def __init__(self, plan: Plan, node: NodePlan) -> None:
        self.name, self.address, self.address6 = node.name, node.address, node.address6
        self.directory = Path(plan.home(node.name))
        self.socket_path = plan.control(node.name)

    def __repr__(self) -> str:
        return f"Node({self.name!r}, {self.address!r})"

    @property
    def pid(self) -> int | None:
        """The node's pid 1, as the caller counts; None where the caller cannot see it."""
        _, (pidfd,) = control.ask(self.socket_path, "hello")
        try:
            return control.pid_of(pidfd)
        finally:
            os.close(pidfd)

    def path(self, path: str | Path) -> Path:
        """Where the host keeps a file of one of the node's own directories. Raises ValueError for others."""
        absolute = Path("/", path)
        found = self.directory / absolute.relative_to("/")
        first = next((parent for parent in [found, *found.parents] if parent.exists()), found)
        if first in (self.directory, *self.directory.parents):
            raise ValueError(f"{absolute} is not in a directory of {self.name}'s own")
        return found

    def log(self, name: str) -> str:
        """The text of `/var/log/NAME.log` in the node; empty if there is none yet."""
        file = self.path(f"{LOG_DIRECTORY}/{name}.log")
        return file.read_text(errors="replace") if file.exists() else ""

    def processes(self) -> list[ProcessInfo]:
        """The node's processes, without its pid 1."""
        answer, _ = control.ask(self.socket_path, "processes")
        return [ProcessInfo(*row) for row in answer["processes"]]

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, protocol: int = 0) -> Socket:
        """A new socket that belongs to the node's network, wherever it is used."""
        _, (descriptor,) = control.ask(
            self.socket_path, "socket", family=int(family), type=int(type), protocol=protocol
        )
        return socket.socket(family, type, protocol, fileno=descriptor)

    def connect(self, host: str, port: int, timeout: float | None = 5.0) -> Socket:
        """A TCP connection from the node to an address. Raises OSError, TimeoutError after `timeout` s."""
        stream = self.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            stream.settimeout(timeout)
            stream.connect((host, port))
        except BaseException:
            stream.close()
            raise
        return stream

    def popen(
        self,
        argv: Sequence[str],
        *,
        stdin: Output = None,
        stdout: Output = None,
        stderr: Output = None,
        log: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        tty: bool = False,
    ) -> NodeProcess:
        """Start a program in the node, in a session of its own.

        stdin, stdout, stderr: as subprocess.Popen takes them, but that an absent stdin is empty.
        log: what the program writes is appended to the node's `/var/log/LOG.log`.
        env: the whole environment; the caller's if absent. cwd: the caller's, if the node has it, else /.
        tty: stdin is a terminal that the program shall control.
        Raises OSError as subprocess.Popen does, control.NodeGone when the node has ended.
        """
        ours, theirs, pipes = _standard_streams(stdin, stdout, stderr)
        exit_pipe, exit_told = os.pipe()
        try:
            answer, (pidfd,) = control.ask(
                self.socket_path,
                "start",
                [exit_told, *theirs],
                argv=[os.fspath(part) for part in argv],
                env=dict(os.environ if env is None else env),
                cwd=str(cwd or os.getcwd()),
                cwd_must=cwd is not None,
                tty=tty,
                log="" if log is None else f"{LOG_DIRECTORY}/{log}.log",
                logged=[number for number, given in enumerate((stdout, stderr), start=1) if given is None],
            )
        except BaseException:
            for descriptor in [exit_pipe, *(pipe for pipe in pipes if pipe is not None)]:
                os.close(descriptor)
            raise
        finally:
            for descriptor in [exit_told, *ours]:
                os.close(descriptor)
        process = NodeProcess(self, argv, answer["pid"], pidfd, exit_pipe)
        process.stdin, process.stdout, process.stderr = (
            None if pipe is None else os.fdopen(pipe, mode)
            for pipe, mode in zip(pipes, ("wb", "rb", "rb"), strict=True)
        )
        return process

    def exec(
        self,
        argv: Sequence[str],
        *,
        input: bytes | str = b"",
        timeout: float | None = 60.0,
        check: bool = False,
        text: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
    ) -> subprocess.CompletedProcess[Any]:
        """Run a program in the node to its end and return what it wrote, as subprocess.run does.

        Raises subprocess.TimeoutExpired after `timeout` seconds (the program's group is killed), and
        subprocess.CalledProcessError if `check` is set and the program fails.
        """
        sent = input.encode() if isinstance(input, str) else input
        with _memory(sent) as given, _memory() as out, _memory() as errors:
            process = self.popen(argv, stdin=given, stdout=out, stderr=errors, env=env, cwd=cwd)
            try:
                code = process.wait(timeout)
            except BaseException:
                process.send_signal(signal.SIGKILL, group=True)
                raise
            finally:
                process.close()
            written: list[Any] = [_read(out), _read(errors)]
        if text:
            written = [part.decode(errors="replace") for part in written]
        done = subprocess.CompletedProcess(list(argv), code, *written)
        if check:
            done.check_returncode()
        return done


def _memory(content: bytes = b"") -> IO[bytes]:
    file = os.fdopen(os.memfd_create("trogdor"), "w+b", buffering=0)
    file.write(content)
    file.seek(0)
    return file


def _read(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _standard_streams(*streams: Output) -> tuple[list[int], list[int], list[int | None]]:
    """For each of stdin, stdout, stderr: what to close after the start, what to send, the pipe's our end."""
    ours: list[int] = []
    theirs: list[int] = []
    pipes: list[int | None] = []
    for number, stream in enumerate(streams):
        pipe = None
        if stream == subprocess.PIPE:
            ends = os.pipe()
            pipe, sent = ends if number else ends[::-1]
            ours.append(sent)
        elif stream == subprocess.DEVNULL or (stream is None and number == 0):
            sent = os.open(os.devnull, os.O_RDWR)
            ours.append(sent)
        elif stream == subprocess.STDOUT:
            sent = theirs[1]
        else:
            sent = number if stream is None else stream if isinstance(stream, int) else stream.fileno()
        theirs.append(sent)
        pipes.append(pipe)
    return ours, theirs, pipes
