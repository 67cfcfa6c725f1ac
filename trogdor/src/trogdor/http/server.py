"""The HTTP server of both daemons: on TCP addresses and on a Unix socket of mode 600."""

import asyncio
import ipaddress
import os
import socket
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any

from trogdor.http import sse
from trogdor.http.app import Application
from trogdor.http.connection import Connection, Connections
from trogdor.http.message import Request

KEEP_ALIVE_S = 75
BACKLOG = 1024


class ListenError(Exception):
    """An address that cannot be listened on; says which, why and what to do."""


class Server:
    """Serves an application until it is closed. Streams end at once then; other requests get a moment to finish."""

    def __init__(self, app: Application) -> None:
        self._connections = Connections(app.answer)
        self._servers: list[asyncio.AbstractServer] = []
        self._paths: list[tuple[Path, int]] = []
        self._ticker: asyncio.Task[None] | None = None

    def _protocol(self) -> asyncio.Protocol:
        return Connection(self._connections)

    async def listen(self, sockets: Sequence[socket.socket] = (), unix: Path | None = None) -> None:
        """Starts to answer on bound TCP sockets (``bind``) and on a Unix socket. Raises ListenError."""
        if self._ticker is None:
            self._tick()
            self._ticker = asyncio.create_task(self._tick_each_second())
        loop = asyncio.get_running_loop()
        for sock in sockets:
            self._servers.append(await loop.create_server(self._protocol, sock=sock, backlog=BACKLOG))
        if unix is not None:
            await self._listen_unix(unix)

    async def _listen_unix(self, path: Path) -> None:
        sock = bind_unix(path)
        self._servers.append(
            await asyncio.get_running_loop().create_unix_server(self._protocol, sock=sock, backlog=BACKLOG)
        )
        self._paths.append((path, os.stat(path).st_ino))

    def _tick(self) -> None:
        self._connections.date = f"date: {formatdate(time.time(), usegmt=True)}\r\n".encode()
        self._connections.close_idle(KEEP_ALIVE_S)

    async def _tick_each_second(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._tick()

    async def close(self, grace_s: float = 2.0) -> None:
        """Stops to listen, ends streams, waits at most ``grace_s`` for requests under way, then cuts them off."""
        for server in self._servers:
            server.close()
        for path, inode in self._paths:
            with suppress(OSError):
                if os.stat(path).st_ino == inode:
                    path.unlink()
        sse.end_all()
        for connection in list(self._connections.open):
            connection.close()
        if self._connections.tasks:
            await asyncio.wait(list(self._connections.tasks), timeout=grace_s)
        for task in list(self._connections.tasks):
            task.cancel()
        for connection in list(self._connections.open):
            connection.transport.abort()
        if self._ticker:
            self._ticker.cancel()


def close_when_unheard(request: Request, after_s: float) -> None:
    """Closes a request's connection once what was sent is not acknowledged for ``after_s``: its other end is cut off.

    Without that TCP tries for a quarter of an hour.
    """
    sock = request.transport.get_extra_info("socket")
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(after_s * 1000))


def bind(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """TCP sockets bound to each address at ``port``; 0 takes a free one, the same for all. Raises ListenError."""
    sockets: list[socket.socket] = []
    try:
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address, port))
            sock.setblocking(False)
            port = sock.getsockname()[1]
    except OSError as error:
        for sock in sockets:
            sock.close()
        shown = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        raise ListenError(
            f"cannot listen on {shown}: {error.strerror}. Is another daemon running there? "
            f"`ss -ltnp 'sport = :{port}'` shows it; the port is set in the configuration file."
        ) from None
    return sockets


def bind_unix(path: Path) -> socket.socket:
    """A Unix socket of mode 600 at ``path``; one left behind by a dead daemon is replaced. Raises ListenError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if len(os.fsencode(path)) > 107:
        raise ListenError(f"cannot listen on {path}: the path is longer than 107 bytes; give a shorter --socket")
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ListenError(f"cannot listen on {path}: something else is there")
        if _answers(path):
            raise ListenError(f"cannot listen on {path}: another daemon answers there already")
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(os.fspath(path))
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on {path}: {error.strerror}") from None
    finally:
        os.umask(before)
    sock.setblocking(False)
    return sock


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
        return True


def addresses_of(hostname: str) -> list[str]:
    """Loopback and every address of this machine that ``hostname`` stands for: where a daemon listens.

    A name that cannot be looked up stands for loopback alone.
    """
    found = {"127.0.0.1": None}
    if _has_ipv6():
        found["::1"] = None
    with suppress(OSError, UnicodeError):
        for _, _, _, _, address in socket.getaddrinfo(hostname, None, type=socket.SOCK_STREAM):
            host = str(address[0])
            if "%" not in host and _is_local(host):
                found[host] = None
    return list(found)


def reach_beyond(addresses: Sequence[str]) -> list[str]:
    """Those of the addresses that other machines can reach."""
    return [address for address in addresses if not ipaddress.ip_address(address).is_loopback]


def _is_local(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True


def _has_ipv6() -> bool:
    return socket.has_ipv6 and _is_local("::1")


def run(main: Any) -> Any:
    """Runs a daemon's coroutine on uvloop."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
