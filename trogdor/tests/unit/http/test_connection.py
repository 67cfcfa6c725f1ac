"""One connection: requests in pieces and in a row, bodies of both kinds, what closes it, and who is too many."""

import asyncio
import http.client
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from trogdor.http import app as http_app
from trogdor.http import connection
from trogdor.http.app import Application, Endpoint
from trogdor.http.message import Response
from trogdor.http.server import Server, bind
from trogdor.http.sse import Event, EventStream
from trogdor.wire.messages import StopWorkerRequest

WAIT_S = 60
LARGE = 16 << 20
"""More than sockets keep."""
HEAD = b"Host: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"workerId":5}'


class Peer:
    """A client that knows only bytes; answers are read with the standard library's eyes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), WAIT_S)
        status, *lines = head.decode().strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await asyncio.wait_for(self.reader.readexactly(int(headers.get("content-length", 0))), WAIT_S)
        return int(status.split()[1]), headers, body

    async def is_closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(1), WAIT_S) == b""


class Served:
    """A server, what it was asked in order, and a door that holds its answers back."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.door = asyncio.Event()
        self.door.set()
        endpoints = [
            Endpoint("PUT", "/stop", self._stop, "", StopWorkerRequest),
            Endpoint("GET", "/events", self._events, ""),
            Endpoint("GET", "/broken", self._broken, ""),
            Endpoint("GET", "/large", self._large, ""),
        ]
        self.server = Server(Application(endpoints))

    async def _stop(self, _request: Any, body: StopWorkerRequest) -> dict[str, int]:
        self.asked.append(body.worker_id)
        await self.door.wait()
        return {"workerId": body.worker_id}

    async def _events(self, _request: Any, _body: None) -> EventStream:
        async def source() -> AsyncGenerator[Event, None]:
            yield Event("hello", {})
            await asyncio.Event().wait()

        return EventStream(source())

    async def _broken(self, _request: Any, _body: None) -> Response:
        return Response(headers={"X": "a\r\nSet-Cookie: b"})

    async def _large(self, _request: Any, _body: None) -> Response:
        self.asked.append(0)
        return Response(bytes(LARGE))

    async def start(self) -> None:
        sockets = bind(["127.0.0.1"], 0)
        self.port = sockets[0].getsockname()[1]
        await self.server.listen(sockets)

    async def peer(self, text: bytes = b"") -> Peer:
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        peer.writer.write(text)
        return peer


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    made = Served()
    await made.start()
    yield made
    await made.server.close()


def stop(worker_id: int, *headers: bytes) -> bytes:
    body = b'{"workerId":%d}' % worker_id
    return b"PUT /stop HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n%b" % (HEAD, b"".join(headers), len(body), body)


async def test_a_request_may_come_byte_by_byte(served: Served) -> None:
    peer = await served.peer()
    for byte in stop(5):
        peer.writer.write(bytes([byte]))
        await peer.writer.drain()
        await asyncio.sleep(0)
    assert (await peer.answer())[2] == BODY


async def test_requests_in_a_row_are_answered_in_order_one_at_a_time(served: Served) -> None:
    served.door.clear()
    peer = await served.peer(b"".join(stop(number) for number in range(1, 6)))
    while not served.asked:
        await asyncio.sleep(0.005)
    assert served.asked == [1]
    served.door.set()
    assert [(await peer.answer())[2] for _ in range(5)] == [b'{"workerId":%d}' % number for number in range(1, 6)]
    peer.writer.write(stop(6))
    assert (await peer.answer())[2] == b'{"workerId":6}'


async def test_who_does_not_read_an_answer_gets_no_other(served: Served) -> None:
    slow = await served.peer(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
    while not served.asked:
        await asyncio.sleep(0.005)
    other = await served.peer()
    for _ in range(5):
        other.writer.write(stop(5))
        assert (await other.answer())[2] == BODY
    assert served.asked.count(0) == 1
    for _ in range(3):
        assert len((await slow.answer())[2]) == LARGE
    assert served.asked.count(0) == 3


async def test_a_body_in_chunks_is_read_as_one(served: Served) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:4], BODY[4:]))
    peer = await served.peer(
        b"PUT /stop HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    )
    assert (await peer.answer())[2] == BODY


async def test_who_asks_first_whether_to_send_a_body_is_told_to(served: Served) -> None:
    request = stop(5, b"Expect: 100-continue\r\n")
    peer = await served.peer(request.removesuffix(BODY))
    assert (await peer.answer())[0] == 100
    peer.writer.write(BODY)
    assert (await peer.answer())[2] == BODY


async def test_a_client_that_would_rather_speak_another_protocol_is_answered_in_this_one(served: Served) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    peer = await served.peer(b"GET /nope HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n")
    code, headers, _ = await peer.answer()
    assert code == 404
    assert "upgrade" not in headers
    peer.writer.write(stop(5))
    assert (await peer.answer())[2] == BODY


@pytest.mark.parametrize(("version", "header"), [(b"1.1", b"Connection: close\r\n"), (b"1.0", b"")])
async def test_the_last_request_closes_the_connection(served: Served, version: bytes, header: bytes) -> None:
    peer = await served.peer(stop(5, header).replace(b"HTTP/1.1", b"HTTP/" + version))
    code, headers, body = await peer.answer()
    assert (code, headers["connection"], body) == (200, "close", BODY)
    assert await peer.is_closed()


async def test_head_is_answered_like_get_but_for_the_body(served: Served) -> None:
    def ask() -> list[tuple[int, str | None, bytes]]:
        asking = http.client.HTTPConnection("127.0.0.1", served.port, timeout=WAIT_S)
        answers = []
        for method in ("HEAD", "GET"):
            asking.request(method, "/nope")
            answer = asking.getresponse()
            answers.append((answer.status, answer.getheader("content-length"), answer.read()))
        asking.close()
        return answers

    head, get = await asyncio.to_thread(ask)
    assert head == (404, get[1], b"")
    assert get[2]


async def test_head_does_not_wait_for_a_stream(served: Served) -> None:
    peer = await served.peer(b"HEAD /events HTTP/1.1\r\nHost: localhost\r\n\r\n" + stop(5))
    code, headers, _ = await peer.answer()
    assert (code, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert (await peer.answer())[2] == BODY


@pytest.mark.parametrize("text", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTP/1.1\r\n\r\n",
                                  b"BREW /tea HTTP/1.1\r\n\r\n",
                                  b"GET http:// HTTP/1.1\r\nHost: localhost\r\n\r\n",
                                  b"PUT /stop HTTP/1.1\r\n" + HEAD + b"Content-Length: -1\r\n\r\n"])  # fmt: skip
async def test_what_is_no_request_is_answered_and_closed(served: Served, text: bytes) -> None:
    peer = await served.peer(text)
    code, _, body = await peer.answer()
    assert (code, body) == (400, b'{"code":400,"message":"Not a request of HTTP/1.1"}')
    assert await peer.is_closed()


async def test_a_body_announced_too_large_is_refused_before_it_comes(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_app, "MAX_BODY_BYTES", 10)
    peer = await served.peer(stop(5).removesuffix(BODY))
    code, headers, _ = await peer.answer()
    assert (code, headers["connection"]) == (413, "close")
    assert await peer.is_closed()
    assert not served.asked


async def test_a_header_with_a_line_break_is_never_sent(served: Served) -> None:
    peer = await served.peer(b"GET /broken HTTP/1.1\r\nHost: localhost\r\n\r\n")
    code, headers, _ = await peer.answer()
    assert code == 500
    assert "set-cookie" not in headers


async def test_one_connection_too_many_is_refused_and_the_others_go_on(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 1)
    first = await served.peer(stop(1))
    assert (await first.answer())[0] == 200
    second = await served.peer(stop(2))
    assert (await second.answer())[0] == 503
    assert await second.is_closed()
    first.writer.write(stop(3))
    assert (await first.answer())[2] == b'{"workerId":3}'


async def test_who_is_silent_too_long_is_closed_and_who_waits_for_an_answer_is_not(served: Served) -> None:
    silent, busy = await served.peer(), await served.peer(stop(1))
    assert (await busy.answer())[0] == 200
    served.door.clear()
    busy.writer.write(stop(2))
    while served.asked != [1, 2]:
        await asyncio.sleep(0.005)
    served.server._connections.close_idle(longest_s=0)
    assert await silent.is_closed()
    served.door.set()
    assert (await busy.answer())[2] == b'{"workerId":2}'


async def test_a_server_that_closes_lets_an_answer_finish_and_takes_no_more(served: Served) -> None:
    served.door.clear()
    peer = await served.peer(stop(1))
    while not served.asked:
        await asyncio.sleep(0.005)
    closing = asyncio.ensure_future(served.server.close(grace_s=WAIT_S))
    await asyncio.sleep(0.01)
    served.door.set()
    code, headers, _ = await peer.answer()
    assert (code, headers["connection"]) == (200, "close")
    assert await peer.is_closed()
    await closing
