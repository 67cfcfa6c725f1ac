"""Runs external commands: upstream's ExternalCommandWorker protocol, at ordinary niceness, leaving nothing behind."""

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from pydantic_core import from_json, to_json

from trogdor.agent.work import Json, Work
from trogdor.agent.workloads import Command
from trogdor.instant import set_niceness

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 1 << 20
MAX_LOGGED = 2000
GUARD = Path(__file__).with_name("guard.py")
CHANGED_EVERY_S = 0.1
"""However often a command reports, its status is pushed no more often than this."""


class Spawner:
    """Starts processes from a thread whose niceness is that of ordinary processes, so that they have it too."""

    def __init__(self, niceness: int = 0) -> None:
        self._thread = ThreadPoolExecutor(1, "spawn", initializer=set_niceness, initargs=(niceness,))

    async def start(self, argv: Sequence[str], orders: int) -> "subprocess.Popen[bytes]":
        """Starts a guarded command; ``orders`` is the guard's end of its pipe. Raises OSError."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, _start, argv, orders)

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(wait=False)


def _start(argv: Sequence[str], orders: int) -> "subprocess.Popen[bytes]":
    guarded = [sys.executable, "-S", "-E", os.fspath(GUARD), str(orders), *argv]
    pipe = subprocess.PIPE
    return subprocess.Popen(guarded, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=[orders], start_new_session=True)


class RunCommand(Work):
    """One command: told what to do by a line, reporting by lines, ended by SIGTERM and, after a while, SIGKILL."""

    def __init__(self, command: Command, task_id: str, spawner: Spawner) -> None:
        self._command = command
        self._task_id = task_id
        self._spawner = spawner
        self._status: Json = None
        self._error = ""
        self._failed = asyncio.Event()
        self._starting: asyncio.Future[subprocess.Popen[bytes]] | None = None
        self._orders = -1
        self._readers: list[asyncio.Task[None]] = []
        self._told = False
        self._stdin: asyncio.WriteTransport | None = None

    @property
    def status(self) -> Json:
        return self._status

    def fire(self) -> None:
        """The process is started by ``run``: a fork has no place on the firing thread."""

    async def run(self) -> str:
        self._starting = asyncio.ensure_future(self._start())
        try:
            process = await asyncio.shield(self._starting)
        except OSError as error:
            return f"Unable to start process: {error.strerror}"
        ended = asyncio.create_task(_wait(process))
        failed = asyncio.create_task(self._failed.wait())
        try:
            await asyncio.wait([ended, failed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            failed.cancel()
            ended.cancel()
        if self._error:
            return self._error
        await asyncio.wait(self._readers)
        code = process.wait()
        return self._error or (f"exited with return code {code}" if code else "")

    async def _start(self) -> "subprocess.Popen[bytes]":
        theirs, self._orders = os.pipe2(os.O_CLOEXEC)
        try:
            process = await self._spawner.start(self._command.argv, theirs)
        finally:
            os.close(theirs)
        await self._connect(process)
        return process

    async def _connect(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        first = to_json({"id": self._task_id, "workload": self._command.workload}) + b"\n"
        self._readers = [
            asyncio.create_task(_each_line(process.stdout, self._take)),
            asyncio.create_task(_each_line(process.stderr, lambda line: self._log("stderr", line))),
        ]
        loop = asyncio.get_running_loop()
        self._stdin, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, process.stdin)
        self._stdin.write(first)

    def _take(self, line: bytes) -> None:
        try:
            message = from_json(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self._log("stdout", line)
            return
        if "status" in message:
            self._status = message["status"]
            self._tell()
        if "log" in message:
            self._log("log", _text(message["log"]).encode())
        if "error" in message and not self._error:
            self._error = _text(message["error"])
            self._failed.set()

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            asyncio.get_running_loop().call_later(CHANGED_EVERY_S, self._tell_now)

    def _tell_now(self) -> None:
        self._told = False
        self.changed()

    def _log(self, what: str, line: bytes) -> None:
        log.info("%s: (%s) %s", self._task_id, what, line[:MAX_LOGGED].decode(errors="replace").rstrip())

    def release(self, how: str) -> None:
        """The process is ended by ``finish``."""

    async def finish(self) -> str:
        if self._starting is None:
            return ""
        try:
            process = await self._starting  # also when the end came while it was being started
        except OSError:
            os.close(self._orders)
            return ""
        ended = asyncio.create_task(_wait(process))
        self._order(b"t")
        await asyncio.wait([ended], timeout=self._command.grace_ms / 1000)
        if not ended.done():
            log.warning("%s: the command did not end %d ms after SIGTERM", self._task_id, self._command.grace_ms)
            self._order(b"k")
        await ended
        os.close(self._orders)
        if self._stdin is not None:
            self._stdin.abort()
        if self._readers:
            await asyncio.wait(self._readers)
        return self._error

    def _order(self, order: bytes) -> None:
        with suppress(BrokenPipeError):
            os.write(self._orders, order)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


async def _wait(process: "subprocess.Popen[bytes]") -> None:
    """Waits until the process has ended, without a thread."""
    if process.poll() is not None:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    watched = os.pidfd_open(process.pid)
    loop.add_reader(watched, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(watched)
        os.close(watched)
    process.wait()


async def _each_line(stream: IO[bytes], take: Any) -> None:
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), stream
    )
    try:
        while True:
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    take(error.partial)
                return
            except asyncio.LimitOverrunError as error:
                line = await reader.readexactly(error.consumed)
            take(line)
    finally:
        transport.close()
