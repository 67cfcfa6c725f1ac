"""What the tests of commands share: how a command ended, and a daemon that answers what a test tells it to."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]
Answer = tuple[int, Any]


@dataclass
class Daemon:
    """A daemon on loopback: ``answers["GET /coordinator/status"] = (200, {…})``.

    ``requests`` keeps what it was sent: the request's line and its body; ``leased`` the leases they were sent with.
    """

    target: str = ""
    answers: dict[str, Answer | Callable[[Any], Answer]] = field(default_factory=dict)
    requests: list[tuple[str, Any]] = field(default_factory=list)
    leased: list[str] = field(default_factory=list)
    dies_after: str = ""
    """After this request it hangs up on everyone."""
    closing: threading.Event = field(default_factory=threading.Event)

    def answer(self, line: str, body: Any) -> Answer:
        self.requests.append((line, body))
        found = self.answers.get(line, (404, {"code": 404, "message": "HTTP 404 Not Found"}))
        return found(body) if callable(found) else found


@contextmanager
def serving() -> Iterator[Daemon]:
    """A Daemon while the block runs."""
    daemon = Daemon()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or each answer's body waits 40 ms for an acknowledgement of its head

        def answer_any(self) -> None:
            if daemon.closing.is_set():
                self.close_connection = True
                return
            if self.command == "GET" and self.path.startswith("/coordinator/lease"):
                self.grant_lease()
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if lease := self.headers.get("Trogdor-Lease"):
                daemon.leased.append(lease)
            code, answer = daemon.answer(f"{self.command} {self.path}", json.loads(body) if body else None)
            payload = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)
            if daemon.dies_after == f"{self.command} {self.path}":
                daemon.closing.set()
                self.close_connection = True

        def grant_lease(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.close_connection = True
            self.wfile.write(b'event: lease\ndata: {"id": "lease1"}\n\n')
            with suppress(OSError):
                while not daemon.closing.wait(0.2):
                    self.wfile.write(b": alive\n\n")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    for method in ("GET", "POST", "PUT", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.answer_any)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    daemon.target = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield daemon
    finally:
        daemon.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
