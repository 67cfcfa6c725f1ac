"""A node's pid 1: sets the node up, reaps its orphans, and starts what it is asked to start.

It serves one request a connection on a Unix socket of packets: a JSON object with an `op`, and file
descriptors beside it. The answer is a JSON object, `error` in it when the request failed. A process's
exit code arrives, as text, on the pipe that was sent with the request to start it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import selectors
import signal
import socket
import termios

from trogdor.lab import kernel, mounts
from trogdor.lab.plan import NodePlan, Plan
from trogdor.lab.rtnetlink import Rtnetlink, address, neighbour, up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Request = dict[str, Any]

MESSAGE_MAX = 200_000
_REQUEST_TIMEOUT_S = 2.0
_PROCESSES_MAX = 2000


def receive(connection: socket.socket, descriptors_max: int) -> tuple[bytes, list[int]]:
    """One message and the descriptors beside it, which programs that are started do not inherit.

    Python 3.11's socket.recv_fds drops the flag that would say so.
    """
    text, descriptors, _, _ = socket.recv_fds(connection, MESSAGE_MAX, descriptors_max)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return text, descriptors


def set_up(plan: Plan, node: NodePlan) -> None:
    """Make the namespaces that the caller is in into the node. Raises OSError that names the step."""
    kernel.unshare(kernel.CLONE_NEWNS)
    socket.sethostname(node.name)
    mounts.prepare_node(plan, node)
    _bring_up_network(plan, node)


def _bring_up_network(plan: Plan, node: NodePlan) -> None:
    loopback, ethernet = socket.if_nametoindex("lo"), socket.if_nametoindex("eth0")
    settings = [up(loopback), up(ethernet)]
    settings += [address(ethernet, *pair) for pair in node.addresses]
    # Known for good, so that a lab of many nodes does not overflow the machine's one neighbour table,
    # and a healed partition is not followed by a second of neighbour discovery.
    settings += [
        neighbour(ethernet, other_address, other.mac)
        for other in plan.nodes
        if other is not node
        for other_address, _ in other.addresses
    ]
    with Rtnetlink() as netlink:
        netlink.send(f"network of {node.name}", *settings)


class NodeInit:
    """Serves a node's requests until it is killed."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._exit_pipes: dict[int, int] = {}
        self._operations: dict[str, Callable[[Request, list[int]], tuple[Request, list[int]]]] = {
            "hello": self._hello,
            "start": self._start,
            "signal": self._signal,
            "socket": self._socket,
            "processes": self._processes,
        }

    def serve(self) -> NoReturn:
        wake, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        selector = selectors.DefaultSelector()
        selector.register(wake, selectors.EVENT_READ)
        selector.register(self._listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == wake:
                    os.read(wake, 4096)
                else:
                    self._answer_one()
            self._reap()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            pipe = self._exit_pipes.pop(pid, None)
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    os.write(pipe, str(os.waitstatus_to_exitcode(status)).encode())
                os.close(pipe)

    def _answer_one(self) -> None:
        connection, _ = self._listener.accept()
        descriptors: list[int] = []
        answered: list[int] = []
        with connection:
            try:
                connection.settimeout(_REQUEST_TIMEOUT_S)
                text, descriptors = receive(connection, 8)
                if not text:
                    return
                request: Request = json.loads(text)
                try:
                    answer, answered = self._operations[request["op"]](request, descriptors)
                except OSError as error:
                    answer = {"error": [error.errno, error.strerror, error.filename]}
                socket.send_fds(connection, [json.dumps(answer).encode()], answered)
            except (OSError, ValueError, KeyError):
                return
            finally:
                for descriptor in descriptors + answered:
                    os.close(descriptor)

    def _hello(self, request: Request, descriptors: list[int]) -> tuple[Request, list[int]]:
        return {}, [os.pidfd_open(os.getpid())]

    def _socket(self, request: Request, descriptors: list[int]) -> tuple[Request, list[int]]:
        return {}, [socket.socket(request["family"], request["type"], request["protocol"]).detach()]

    def _signal(self, request: Request, descriptors: list[int]) -> tuple[Request, list[int]]:
        if request["pid"] not in self._exit_pipes:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        send = os.killpg if request["group"] else os.kill
        send(request["pid"], request["signal"])
        return {}, []

    def _processes(self, request: Request, descriptors: list[int]) -> tuple[Request, list[int]]:
        found = []
        for pid in sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
            try:
                with open(f"/proc/{pid}/stat", "rb") as file:
                    name, _, rest = file.read().partition(b"(")[2].rpartition(b") ")
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    command = file.read(4096).rstrip(b"\0").replace(b"\0", b" ") or b"[" + name + b"]"
            except OSError:
                continue
            state, parent = rest.split()[:2]
            if pid != 1:
                found.append([pid, int(parent), state.decode(), command.decode(errors="replace")[:1000]])
        kept: list[list[object]] = []
        size = 0
        for row in found[:_PROCESSES_MAX]:
            size += len(json.dumps(row)) + 2
            if size < MESSAGE_MAX - 100:
                kept.append(row)
        return {"processes": kept}, []

    def _start(self, request: Request, descriptors: list[int]) -> tuple[Request, list[int]]:
        exit_pipe, *standard = descriptors
        failed, failure = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._become(request, standard, failure)
        os.close(failure)
        with open(failed, "rb") as pipe:
            reason = pipe.read()
        if reason:
            os.waitpid(pid, 0)
            raise OSError(*json.loads(reason))
        self._exit_pipes[pid] = exit_pipe
        descriptors.remove(exit_pipe)
        return {"pid": pid}, [os.pidfd_open(pid)]

    def _become(self, request: Request, standard: list[int], failure: int) -> NoReturn:
        """In the child: turn into the program, or say on `failure` why not."""
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            for target, descriptor in enumerate(standard):
                os.dup2(descriptor, target)
            if request["log"]:
                self._log_to(request["log"], request["logged"])
            if request["tty"]:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            self._change_directory(request["cwd"], request["cwd_must"])
            self._execute(request["argv"], request["env"])
        except OSError as error:
            os.write(failure, json.dumps([error.errno, error.strerror, error.filename]).encode())
        finally:
            os._exit(127)

    def _log_to(self, path: str, streams: list[int]) -> None:
        """Opened here, the file is found again by its path in the node."""
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        for stream in streams:
            os.dup2(descriptor, stream)
        os.close(descriptor)

    def _execute(self, argv: list[str], environment: dict[str, str]) -> None:
        try:
            os.execvpe(argv[0], argv, environment)
        except OSError as error:
            raise OSError(error.errno, error.strerror, argv[0]) from None

    def _change_directory(self, path: str, must: bool) -> None:
        try:
            os.chdir(path)
        except OSError:
            if must:
                raise
            os.chdir("/")
