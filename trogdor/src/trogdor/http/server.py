"""The HTTP server of both daemons: uvicorn's protocol on TCP addresses and on a Unix socket of mode 600."""

import asyncio
import ipaddress
import logging
import os
import socket
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from trogdor.http import sse

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 4096
MAX_HEADER_BYTES = 64 << 10
KEEP_ALIVE_S = 75
BACKLOG = 1024
MAX_JOINED_BYTES = 64 << 10


TRANSPORT = "trogdor.transport"


class ListenError(Exception):
    """An address that cannot be listened on; says which, why and what to do."""


class _JoinedWrites:
    """A transport that hands over at once what is written in one turn of the event loop.

    uvicorn writes an answer's headers and its body apart; each would be a packet of its own and wake its reader.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)
        if len(data) > MAX_JOINED_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._waiting and not self._transport.is_closing():
            self._transport.write(b"".join(self._waiting))
        self._waiting.clear()


class _Protocol(HttpToolsProtocol):
    """uvicorn's, with a limit on a request's headers, which it has none for, and answers in one piece."""

    _header_bytes = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(_JoinedWrites(transport))  # type: ignore[arg-type]

    def on_message_begin(self) -> None:
        self._header_bytes = 0
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item]

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            raise ValueError(f"headers of more than {MAX_HEADER_BYTES} bytes")


class Server:
    """Serves an application until it is closed. Streams end at once then; other requests get a moment to finish."""

    def __init__(self, app: ASGIApp) -> None:
        self._config = Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        self._config.load()
        self._state = ServerState()
        self._servers: list[asyncio.AbstractServer] = []
        self._paths: list[tuple[Path, int]] = []
        self._ticker: asyncio.Task[None] | None = None

    def _protocol(self) -> asyncio.Protocol:
        return _Protocol(config=self._config, server_state=self._state, app_state={})

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
        self._state.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]

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
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=grace_s)
        for task in list(self._state.tasks):
            task.cancel()
        for connection in list(self._state.connections):
            connection.transport.abort()
        if self._ticker:
            self._ticker.cancel()


def close_when_unheard(scope: Scope, after_s: float) -> None:
    """Closes a request's connection once what was sent is not acknowledged for ``after_s``: its other end is cut off.

    Without that TCP tries for a quarter of an hour.
    """
    sock = scope["extensions"][TRANSPORT].get_extra_info("socket")
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
