"""HTTP/1.1 on one connection: httptools reads the requests, one after the other is answered, each in one piece.

A server of general use hands both over in parts, through events and queues. Here a request is whole before it is looked
at, within ``MAX_BODY_BYTES``, and only a stream of events is written in parts.
"""

import asyncio
import http
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import httptools

from trogdor.http import app
from trogdor.http.message import Request, Response
from trogdor.http.sse import EventStream

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 64 << 10
MAX_CONNECTIONS = 4096

Answer = Callable[[Request, bytes], Awaitable[Response]]

_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}


class Connections:
    """What the connections of a server share: who answers, and which there are."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.open: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        """Requests that are being answered."""
        self.date = b""
        """The ``date`` header, as of this second."""

    def close_idle(self, longest_s: float) -> None:
        """Closes those on which nothing was asked or answered for so long."""
        before = time.monotonic() - longest_s
        for connection in [each for each in self.open if each.idle_since < before]:
            connection.close()


class Connection(asyncio.Protocol):
    """One connection; its requests wait for each other."""

    def __init__(self, shared: Connections) -> None:
        self._shared = shared
        self._parser = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)  # what follows the last request is ignored
        self._waiting: deque[tuple[Request, bytes, bool]] = deque()
        self._busy = False
        self._last = False
        """Whether the connection is to be closed after the answer under way."""
        self._gone = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self.idle_since = time.monotonic()
        """Infinite while a request is being answered."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        address = transport.get_extra_info("peername")
        self._host = str(address[0]) if address else None
        self._shared.open.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._shared.open.discard(self)
        self._waiting.clear()
        self._gone.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # is answered in HTTP/1.1, as one may
        except httptools.HttpParserError as error:
            known = error.__context__
            self._refuse(known if isinstance(known, app.HttpError) else app.HttpError(400, "Not a request of HTTP/1.1"))

    def close(self) -> None:
        """Closes it, after the answer that is under way."""
        self._last = True
        if not self._busy:
            self.transport.close()

    def on_message_begin(self) -> None:
        """httptools: a request begins."""
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_bytes = self._body_bytes = 0
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        """httptools: a piece of its target."""
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: a header."""
        self._headers.append((name.lower(), value))
        self._count(len(name) + len(value))

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            raise app.HttpError(400, f"Headers of more than {MAX_HEADER_BYTES} bytes")

    def on_headers_complete(self) -> None:
        """httptools: the body follows."""
        if len(self._shared.open) > MAX_CONNECTIONS:
            raise app.HttpError(503, f"There are more than {MAX_CONNECTIONS} connections")
        for name, value in self._headers:
            if name == b"content-length" and int(value) > app.MAX_BODY_BYTES:
                raise app.too_large()
            if name == b"expect" and value.lower() == b"100-continue" and not self._busy:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """httptools: a piece of the body."""
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > app.MAX_BODY_BYTES:
            raise app.too_large()

    def on_message_complete(self) -> None:
        """httptools: the request is whole."""
        url = httptools.parse_url(self._url)
        path = url.path.decode("ascii")
        request = Request(
            self._parser.get_method().decode("ascii"),
            unquote(path) if "%" in path else path,
            (url.query or b"").decode("ascii"),
            self._headers,
            self._host,
            self.transport,
        )
        is_last = not self._parser.should_keep_alive() or self._parser.get_http_version() == "1.0"
        if self._busy:
            self._waiting.append((request, b"".join(self._body), is_last))
            self.transport.pause_reading()
        else:
            self._begin(request, b"".join(self._body), is_last)

    def _begin(self, request: Request, body: bytes, is_last: bool) -> None:
        self._busy, self._last = True, self._last or is_last
        self.idle_since = float("inf")
        task = asyncio.get_running_loop().create_task(self._respond(request, body))
        self._shared.tasks.add(task)
        task.add_done_callback(self._shared.tasks.discard)

    async def _respond(self, request: Request, body: bytes) -> None:
        response = await self._shared.answer(request, body)
        try:
            with_body = request.method != "HEAD"
            if with_body and isinstance(response, EventStream):
                await self._stream(response)
            else:
                self._write(response, with_body=with_body)
            await self._writable.wait()  # whoever does not read its answer gets no other
        except Exception:
            log.exception("an answer ended early")
            self.transport.abort()
        self._answered()

    def _write(self, response: Response, *, with_body: bool = True) -> None:
        if not self.transport.is_closing():
            head = self._head(response)
            self.transport.write(head + response.body if with_body else head)

    async def _stream(self, stream: EventStream) -> None:
        if self.transport.is_closing():
            self._gone.set()
        else:
            self.transport.write(self._head(stream))
        await stream.send(self._write_chunk, self._gone)
        if not self.transport.is_closing():
            self.transport.write(b"0\r\n\r\n")

    async def _write_chunk(self, chunk: bytes) -> None:
        await self._writable.wait()
        if not self.transport.is_closing():
            self.transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    def _head(self, response: Response) -> bytes:
        self._last = self._last or response.closes
        end = b"connection: close\r\n\r\n" if self._last else b"\r\n"
        return b"".join((_STATUS[response.status], self._shared.date, response.head, end))

    def _answered(self) -> None:
        self._busy = False
        self.idle_since = time.monotonic()
        if self._last or self.transport.is_closing():
            self.transport.close()
        elif self._waiting:
            self._begin(*self._waiting.popleft())
        else:
            self.transport.resume_reading()

    def _refuse(self, error: app.HttpError) -> None:
        """Answers what is no request, or more than is taken, and closes."""
        self._last = True
        self._write(app.error_response(error))
        self.transport.close()
