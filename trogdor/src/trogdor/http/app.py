"""Routes as a table, and the one place where requests become calls and exceptions become HTTP.

An endpoint is a function ``(request, body) -> answer``: the body has been read as the endpoint's message, the answer is
JSON, ``None`` for upstream's empty object, or a Response. Errors have upstream's shape, ``{"code": …, "message": …}``.
"""

import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic_core import to_json

from trogdor.http.message import Request, Response
from trogdor.spec import SpecError, UnknownSpecClass
from trogdor.wire import errors
from trogdor.wire.messages import Message
from trogdor.wire.read import read_json, read_message

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 8 << 20

Handler = Callable[[Request, Any], Awaitable[Any]]


@dataclass(frozen=True)
class Endpoint:
    """One route. ``body`` names the message it wants; None: a body is not looked at."""

    method: str
    path: str
    """As in OpenAPI: ``/coordinator/tasks/{taskId}``."""
    handle: Handler
    summary: str
    body: type[Message] | None = None
    query: Mapping[str, str] | None = None
    """Parameter → what it means, for OpenAPI."""
    may_be_empty: bool = False
    """Whether a request without a body stands for a message of defaults."""


class HttpError(Exception):
    """An answer that HTTP itself asks for, such as 405."""

    def __init__(self, code: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.headers = headers


STATUS: tuple[tuple[type[Exception], int], ...] = (
    (errors.BadRequest, 400),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.UnknownClass, 501),
    (errors.Unavailable, 503),
    (UnknownSpecClass, 501),
    (SpecError, 400),
)
"""Exception → status; the first that fits counts. Everything else is 500."""


def json_response(value: Any, code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A compact JSON answer, keys in the order given."""
    return Response(to_json(value), code, headers)


EMPTY = json_response({})
"""Upstream's empty object; made once, since every create is answered with it."""


def error_response(error: Exception) -> Response:
    """What an exception is on the wire."""
    if isinstance(error, HttpError):
        return json_response({"code": error.code, "message": str(error)}, error.code, error.headers)
    for kind, code in STATUS:
        if isinstance(error, kind):
            return json_response({"code": code, "message": str(error)}, code)
    log.error("a request failed", exc_info=error)
    message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return json_response({"code": 500, "message": message}, 500)


class Application:
    """What a daemon answers: its endpoints, and the names by which it may be called."""

    def __init__(self, endpoints: Sequence[Endpoint], hosts: Iterable[str] = ()) -> None:
        self.endpoints = tuple(endpoints)
        self.hosts = frozenset(host.lower().rstrip(".") for host in hosts) | {"localhost"}
        self._fixed: dict[str, dict[str, Endpoint]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Endpoint]]] = []
        by_path: dict[str, dict[str, Endpoint]] = {}
        for endpoint in self.endpoints:
            by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
        for path, methods in by_path.items():
            if "{" in path:
                self._patterns.append((re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)), methods))
            else:
                self._fixed[path] = methods

    async def answer(self, request: Request, content: bytes) -> Response:
        """What a request is answered with; ``content`` is its body."""
        try:
            return await self._answer(request, content)
        except Exception as error:
            return error_response(error)

    async def _answer(self, request: Request, content: bytes) -> Response:
        self._check_host(request)
        endpoint = self._find(request)
        body = None
        if endpoint.body is not None and endpoint.may_be_empty and not content:
            body = endpoint.body()
        elif endpoint.body is not None:
            body = read_message(endpoint.body, read_json(_json_of(request, content)))
        answer = await endpoint.handle(request, body)
        if answer is None:
            return EMPTY
        return answer if isinstance(answer, Response) else json_response(answer)

    def _find(self, request: Request) -> Endpoint:
        path = request.path.rstrip("/") or "/"
        methods = self._fixed.get(path)
        if methods is None:
            for pattern, candidates in self._patterns:
                if match := pattern.fullmatch(path):
                    request.path_params = match.groupdict()
                    methods = candidates
                    break
            else:
                raise HttpError(404, "HTTP 404 Not Found")
        endpoint = methods.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            raise HttpError(405, "HTTP 405 Method Not Allowed", {"Allow": ", ".join(sorted(methods))})
        return endpoint

    def _check_host(self, request: Request) -> None:
        """Refuses names this daemon does not have: a web page whose name was pointed at it (DNS rebinding)."""
        if request.host is None:
            return
        host = _host_of(request.header(b"host"))
        if host not in self.hosts and not _is_address(host):
            raise HttpError(421, f"Unknown Host {host!r}: this daemon answers to {', '.join(sorted(self.hosts))}")


def _json_of(request: Request, content: bytes) -> bytes:
    media, _, _ = request.header(b"content-type").partition(";")
    if media.strip().lower() != "application/json":
        raise HttpError(415, "HTTP 415 Unsupported Media Type")
    if not content:
        raise errors.BadRequest("The body is empty: a JSON object is wanted")
    return content


def too_large() -> HttpError:
    """What a body of more than ``MAX_BODY_BYTES`` is answered with."""
    return HttpError(413, f"The body is larger than {MAX_BODY_BYTES} bytes", {"Connection": "close"})


@lru_cache(maxsize=16)
def _host_of(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower().rstrip(".")


@lru_cache(maxsize=16)
def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def query_long(request: Request, name: str, default: int = 0) -> int:
    """A whole number among the query's parameters. Raises BadRequest."""
    text = request.param(name)
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        raise errors.BadRequest(f"{name}: a whole number is wanted, not {text[:100]!r}") from None
    if not -(2**63) <= value < 2**63:
        raise errors.BadRequest(f"{name}: out of range")
    return value
