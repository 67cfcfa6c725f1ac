"""The HTTP server, by real sockets: what is refused, with which words, and how it ends."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from trogdor.http import app as http_app
from trogdor.http.app import Application, Endpoint
from trogdor.http.connection import MAX_HEADER_BYTES
from trogdor.http.openapi import with_docs
from trogdor.http.server import ListenError, Server, addresses_of, bind, bind_unix
from trogdor.http.sse import Event, EventStream
from trogdor.wire import errors
from trogdor.wire.messages import CreateWorkerRequest, StopWorkerRequest

NOOP = {"class": "org.apache.kafka.trogdor.task.NoOpTaskSpec", "startMs": 0, "durationMs": 1}


async def _create(request: Any, body: CreateWorkerRequest) -> None:
    if body.worker_id == 2:
        raise errors.Conflict("There is already a worker ID 2 with a different task ID.")
    if body.worker_id == 3:
        raise ZeroDivisionError("a bug")


async def _echo(request: Any, body: StopWorkerRequest) -> dict[str, Any]:
    return {"workerId": body.worker_id}


async def _one(request: Any, body: None) -> dict[str, Any]:
    return {"id": request.path_params["taskId"]}


async def _events(request: Any, body: None) -> EventStream:
    async def source() -> AsyncGenerator[Event, None]:
        yield Event("hello", {"n": 1}, "7")
        await asyncio.Event().wait()

    return EventStream(source())


ENDPOINTS = with_docs(
    "Test",
    [
        Endpoint("POST", "/create", _create, "Creates.", CreateWorkerRequest),
        Endpoint("PUT", "/stop", _echo, "Stops.", StopWorkerRequest),
        Endpoint("GET", "/tasks/{taskId}", _one, "One."),
        Endpoint("GET", "/events", _events, "Events."),
    ],
)


class Client:
    """A client that knows only sockets."""

    def __init__(self, port: int, unix: Path) -> None:
        self.port, self.unix = port, unix

    async def raw(self, text: bytes, unix: bool = False) -> tuple[int, dict[str, str], bytes]:
        opened = asyncio.open_unix_connection(self.unix) if unix else asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = await opened
        writer.write(text)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        writer.close()
        return int(head[0].split()[1]), headers, body

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = {"Host": "localhost", "Content-Length": str(len(content)), "Content-Type": "application/json"}
        lines |= {key.replace("_", "-"): value for key, value in headers.items()}
        head = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
        code, _, answer = await self.raw(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
        return code, json.loads(answer)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    server = Server(Application(ENDPOINTS, hosts=["n1.example"]))
    sockets = bind(["127.0.0.1"], 0)
    port = sockets[0].getsockname()[1]
    await server.listen(sockets, tmp_path / "s.sock")
    yield Client(port, tmp_path / "s.sock")
    await server.close()


async def test_an_answer_is_compact_json_and_nothing_else(client: Client) -> None:
    code, headers, body = await client.raw(b"GET /tasks/t%201 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (code, body) == (200, b'{"id":"t 1"}')
    assert headers["content-type"] == "application/json"
    assert "server" not in headers
    assert "date" in headers


async def test_nothing_to_say_is_upstreams_empty_object(client: Client) -> None:
    assert await client.send("POST", "/create", {"workerId": 1, "taskId": "t", "spec": NOOP}) == (200, {})


async def test_a_trailing_slash_is_accepted(client: Client) -> None:
    assert await client.send("PUT", "/stop/", {"workerId": 5}) == (200, {"workerId": 5})


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "said"),
    [
        ("GET", "/nope", None, 404, "HTTP 404 Not Found"),
        ("GET", "/create", None, 405, "HTTP 405 Method Not Allowed"),
        ("POST", "/create", b"{bad", 400, "malformed JSON: key must be a string at line 1 column 2"),
        ("POST", "/create", b"", 400, "The body is empty"),
        ("POST", "/create", b"null", 400, "a JSON object is wanted"),
        ("POST", "/create", b"NaN", 400, "malformed JSON"),
        ("POST", "/create", b'{"a":' * 5000, 400, "malformed JSON"),
        (
            "POST", "/create", [], 400,
            "Cannot deserialize value of type `org.apache.kafka.trogdor.rest.CreateWorkerRequest` from Array value "
            "(token `JsonToken.START_ARRAY`)",
        ),
        (
            "POST", "/create", {"workerId": 2, "taskId": "t", "spec": NOOP}, 409,
            "There is already a worker ID 2 with a different task ID.",
        ),
        ("POST", "/create", {"workerId": 3, "taskId": "t", "spec": NOOP}, 500, "ZeroDivisionError: a bug"),
    ],
)  # fmt: skip
async def test_errors_have_upstreams_shape(  # noqa: PLR0917
    client: Client, method: str, path: str, body: Any, code: int, said: str
) -> None:
    got, answer = await client.send(method, path, body)
    assert (got, answer["code"]) == (code, code)
    assert list(answer) == ["code", "message"]
    assert said in answer["message"]


async def test_a_body_that_is_not_json_by_its_content_type_is_refused(client: Client) -> None:
    code, answer = await client.send("PUT", "/stop", {"workerId": 5}, Content_Type="text/plain")
    assert (code, answer["message"]) == (415, "HTTP 415 Unsupported Media Type")


async def test_comments_in_json_are_accepted_but_not_inside_strings(client: Client) -> None:
    body = b'/* a " */ {"workerId": // five\n "5"} /* end */'
    assert await client.send("PUT", "/stop", body) == (200, {"workerId": 5})
    code, answer = await client.send("POST", "/create", {"taskId": "a//b /*c*/", "spec": {**NOOP, "http://x": 1}})
    assert code == 400
    assert 'Unrecognized field "http://x"' in answer["message"]


async def test_hostile_comments_are_refused_in_a_moment(client: Client) -> None:
    for body in (b"/*" * 400_000, b'\\"' * 400_000 + b"//", b'"' + b"\\" * 800_001 + b"/*"):
        code, _ = await asyncio.wait_for(client.send("PUT", "/stop", body), 120)
        assert code == 400


async def test_a_body_over_the_limit_is_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_app, "MAX_BODY_BYTES", 100)
    code, answer = await client.send("PUT", "/stop", {"workerId": " " * 200})
    assert (code, answer["message"]) == (413, "The body is larger than 100 bytes")
    chunk = b"64\r\n" + b" " * 100 + b"\r\n"
    head = b"Host: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    code, _, _ = await client.raw(b"PUT /stop HTTP/1.1\r\n" + head + chunk * 3 + b"0\r\n\r\n")
    assert code == 413


async def test_headers_without_end_are_refused(client: Client) -> None:
    head = b"GET /tasks/a HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (MAX_HEADER_BYTES + 1) + b"\r\n\r\n"
    code, _, _ = await client.raw(head)
    assert code == 400


@pytest.mark.parametrize(
    ("host", "code"),
    [("127.0.0.1:1", 200), ("[::1]:8888", 200), ("N1.example", 200), ("10.0.0.1", 200),
     ("evil.example", 421), ("", 421)],
)  # fmt: skip
async def test_names_that_are_not_ours_are_refused(client: Client, host: str, code: int) -> None:
    got, _, _ = await client.raw(f"GET /tasks/a HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert got == code


async def test_the_unix_socket_is_for_its_owner_alone_and_takes_any_host(client: Client) -> None:
    assert os.stat(client.unix).st_mode & 0o777 == 0o600
    code, _, _ = await client.raw(b"GET /tasks/a HTTP/1.1\r\nHost: whatever\r\n\r\n", unix=True)
    assert code == 200


async def test_openapi_names_every_route_and_every_spec(client: Client) -> None:
    code, document = await client.send("GET", "/openapi.json")
    assert code == 200
    assert {"/create", "/stop", "/tasks/{taskId}", "/events"} <= set(document["paths"])
    assert document["components"]["schemas"]["NoOpTaskSpec"]["properties"]["class"]["const"] == NOOP["class"]
    code, _, page = await client.raw(b"GET /docs HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert code == 200
    assert b"http://" not in page
    assert b"https://" not in page


async def test_a_stream_beats_and_ends_when_the_server_does(tmp_path: Path) -> None:
    server = Server(Application(ENDPOINTS))
    sockets = bind(["127.0.0.1"], 0)
    port = sockets[0].getsockname()[1]
    await server.listen(sockets)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    text = await asyncio.wait_for(reader.readuntil(b'event: hello\nid: 7\ndata: {"n":1}\n\n'), 30)
    assert b"text/event-stream" in text
    await asyncio.wait_for(reader.readuntil(b":\n\n"), 30)
    await asyncio.wait_for(server.close(), 30)
    assert await asyncio.wait_for(reader.read(), 30) in (b"0\r\n\r\n", b"\r\n0\r\n\r\n")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    writer.close()


async def test_a_client_that_goes_closes_its_source() -> None:
    gone = asyncio.Event()

    async def handle(request: Any, body: None) -> EventStream:
        async def source() -> AsyncGenerator[Event, None]:
            try:
                yield Event("hello", {})
                await asyncio.Event().wait()
            finally:
                gone.set()

        return EventStream(source())

    server = Server(Application([Endpoint("GET", "/events", handle, "")]))
    sockets = bind(["127.0.0.1"], 0)
    port = sockets[0].getsockname()[1]
    await server.listen(sockets)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"hello")
    writer.close()
    await asyncio.wait_for(gone.wait(), 30)
    await server.close()


def test_a_port_or_path_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"127.0.0.1:{port}"):
            bind(["127.0.0.1"], port)
    (tmp_path / "file").touch()
    with pytest.raises(ListenError, match="something else"):
        bind_unix(tmp_path / "file")
    with bind_unix(tmp_path / "sock") as first:
        first.listen()
        with pytest.raises(ListenError, match="another daemon"):
            bind_unix(tmp_path / "sock")
    bind_unix(tmp_path / "sock").close()


def test_a_daemon_listens_on_loopback_and_on_its_own_addresses_only() -> None:
    assert addresses_of("192.0.2.1")[0] == "127.0.0.1"
    assert "192.0.2.1" not in addresses_of("192.0.2.1")
    assert "127.0.0.5" in addresses_of("127.0.0.5")
    assert addresses_of("no.such.host.invalid") == addresses_of("127.0.0.1")
