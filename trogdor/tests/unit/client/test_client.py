"""The client's errors say which address, and what was wrong; requests are what upstream's client sends."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from trogdor.client import (
    AgentClient,
    AsyncClient,
    Client,
    Conflict,
    Failed,
    NotFound,
    Refused,
    Target,
    Unreachable,
    calls,
)
from trogdor.client.sse import Parser
from trogdor.client.sync import Connection


class Daemon(ThreadingHTTPServer):
    """Answers every request with the next of ``answers`` and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, bytes]] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.hang_up = False
        self.silent = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer's body waits 40 ms for an acknowledgement of its head
    server: Daemon

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path, json.loads(body) if body else None))
        if not self.server.answers:
            self.server.silent.wait(60)
            return
        status, answer = self.server.answers.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        self.close_connection = self.server.hang_up

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    server = Daemon()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.silent.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(daemon: Daemon) -> Client:
    return Client(f"127.0.0.1:{daemon.server_address[1]}", deadline_s=20)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("h:8889", Target("h", 8889)),
        ("[::1]:8889", Target("::1", 8889)),
        ("unix:/a/b:c.sock", Target(path="/a/b:c.sock")),
    ],
)
def test_a_target_is_read_and_written_alike(text: str, target: Target) -> None:
    assert Target.parse(text) == target
    assert str(target) == text


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:x", "host:0", "host:65536", "unix:"])
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"wanted|needs"):
        Target.parse(text)


def test_nobody_at_the_address_is_unreachable_and_named(tmp_path: Path) -> None:
    for target in ("127.0.0.1:1", f"unix:{tmp_path}/none.sock"):
        with pytest.raises(Unreachable) as raised:
            Client(target).status()
        assert target in str(raised.value)


@pytest.mark.parametrize(
    ("status", "error"), [(400, Refused), (404, NotFound), (409, Conflict), (500, Failed), (501, Refused)]
)
def test_an_error_carries_the_daemons_own_words(
    daemon: Daemon, client: Client, status: int, error: type[Exception]
) -> None:
    daemon.answers = [(status, json.dumps({"code": status, "message": "the reason"}).encode())]
    with pytest.raises(error, match="the reason") as raised:
        client.task("t")
    assert str(client.target) in str(raised.value)


def test_what_is_no_json_is_no_trogdor(daemon: Daemon, client: Client) -> None:
    daemon.answers = [(200, b"<html>")]
    with pytest.raises(Failed, match="is this a Trogdor"):
        client.status()


def test_every_problem_found_by_the_check_is_raised_and_nothing_is_created(daemon: Daemon, client: Client) -> None:
    problems = [{"path": "spec.links", "message": "none"}, {"path": "id", "message": "taken"}]
    daemon.answers = [(200, json.dumps({"problems": problems, "nodes": []}).encode())]
    with pytest.raises(Refused, match=r"(?s)spec\.links: none.*id: taken"):
        client.create_task("t", {"class": "NoOpTaskSpec"})
    assert [path for _, path, _ in daemon.asked] == ["/coordinator/task/check"]


def test_a_java_coordinator_has_no_check_and_still_gets_the_task(daemon: Daemon, client: Client) -> None:
    daemon.answers = [(404, b'{"code":404,"message":"HTTP 404 Not Found"}'), (200, b"{}")]
    client.create_task("t", {"class": "NoOpTaskSpec"})
    assert daemon.asked[-1] == ("POST", "/coordinator/task/create", {"id": "t", "spec": {"class": "NoOpTaskSpec"}})


def test_a_connection_that_the_daemon_closed_meanwhile_is_opened_again(daemon: Daemon, client: Client) -> None:
    daemon.hang_up = True
    daemon.answers = [(200, b"{}")] * 3
    for _ in range(3):
        assert client.tasks() == {}


def test_ids_are_quoted_and_filters_sent_as_upstream_does(daemon: Daemon, client: Client) -> None:
    daemon.answers = [(200, b"{}")] * 3
    client.task("a/b c")
    client.tasks(ids=["a", "b"], state="DONE", first_start_ms=5)
    client.destroy_task("a&b")
    assert [path for _, path, _ in daemon.asked] == [
        "/coordinator/tasks/a%2Fb%20c",
        "/coordinator/tasks?taskId=a&taskId=b&state=DONE&firstStartMs=5",
        "/coordinator/tasks?taskId=a%26b",
    ]


def test_the_agents_client_sends_upstreams_bodies(daemon: Daemon) -> None:
    daemon.answers = [(200, b"{}")] * 3
    agent = AgentClient(f"127.0.0.1:{daemon.server_address[1]}")
    agent.create_worker(1, "t", {"class": "NoOpTaskSpec"})
    agent.stop_worker(1)
    agent.destroy_worker(1)
    assert daemon.asked == [
        ("POST", "/agent/worker/create", {"workerId": 1, "taskId": "t", "spec": {"class": "NoOpTaskSpec"}}),
        ("PUT", "/agent/worker/stop", {"workerId": 1}),
        ("DELETE", "/agent/worker?workerId=1", None),
    ]


async def test_the_async_client_asks_and_fails_alike(daemon: Daemon) -> None:
    daemon.answers = [(200, b'{"tasks":{"t":{"state":"DONE"}}}'), (404, b'{"code":404,"message":"gone"}')]
    async with AsyncClient(f"127.0.0.1:{daemon.server_address[1]}") as client:
        assert await client.tasks() == {"t": {"state": "DONE"}}
        with pytest.raises(NotFound, match="gone"):
            await client.task("t")
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
            await client.status()


def test_events_are_read_whatever_their_lines_look_like() -> None:
    parser = Parser()
    lines = [b": comment\r\n", b"event: worker\n", b'data: {"a":\n', b"data: 1}\n", b"\n", b"data: 2\n", b"\n", b"\n"]
    assert [event for line in lines if (event := parser.feed(line))] == [
        ("", None),
        ("worker", {"a": 1}),
        ("message", 2),
    ]


def test_a_daemon_that_falls_silent_on_a_kept_connection_is_unreachable(daemon: Daemon) -> None:
    with Client(f"127.0.0.1:{daemon.server_address[1]}", deadline_s=0.2) as client:
        daemon.answers += [(200, b"{}")]
        client.status()
        with pytest.raises(Unreachable, match="no answer in time"):
            client.status()
        daemon.answers += [(200, b'{"serverStartMs": 1}')]
        assert client.status() == {"serverStartMs": 1}


def test_a_stream_that_is_no_stream_of_events_is_an_answer_of_no_trogdor(daemon: Daemon) -> None:
    daemon.answers += [(200, b"data: {\n\n")]
    connection = Connection(f"127.0.0.1:{daemon.server_address[1]}", "coordinator")
    with pytest.raises(Failed, match="no event"):
        list(connection.stream(calls.lease(None), 20))
