"""A request and its answer, as the routes see them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs


@dataclass
class Request:
    """A request, read whole but for its body, which its endpoint gets as a message."""

    method: str
    path: str
    query: str
    headers: list[tuple[bytes, bytes]]
    """Names in small letters."""
    host: str | None
    """The address that it comes from; None: through the Unix socket."""
    transport: Any = None
    path_params: dict[str, str] = field(default_factory=dict)

    def header(self, name: bytes) -> str:
        """The first header of this name; "" where there is none."""
        for each, value in self.headers:
            if each == name:
                return str(value, "latin-1")
        return ""

    def param(self, name: str) -> str:
        """The last value of this name in the query; "" where there is none."""
        return self.params(name)[-1] if self.query and self.params(name) else ""

    def params(self, name: str) -> list[str]:
        """All values of this name in the query."""
        return self._params.get(name, [])

    @cached_property
    def _params(self) -> dict[str, list[str]]:
        return parse_qs(self.query, keep_blank_values=True)


class Response:
    """An answer in one piece, its headers as they go on the wire."""

    def __init__(
        self,
        content: bytes | str = b"",
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str = "application/json",
    ) -> None:
        self.body = content.encode() if isinstance(content, str) else content
        self.status = status
        self.closes = (headers or {}).get("Connection") == "close"
        """Whether the connection ends with it."""
        if media_type.startswith("text/") and "charset=" not in media_type:
            media_type += "; charset=utf-8"
        kept = {name: value for name, value in (headers or {}).items() if name != "Connection"}
        self.head = _lines({**self._length(), "content-type": media_type, **kept})

    def _length(self) -> dict[str, str]:
        return {"content-length": str(len(self.body))}


def _lines(headers: Mapping[str, str]) -> bytes:
    """Headers, a line each. Raises ValueError for one that would be two."""
    for name, value in headers.items():
        if "\r" in value or "\n" in value:
            raise ValueError(f"a line break in the header {name}")
    return "".join(f"{name.lower()}: {value}\r\n" for name, value in headers.items()).encode("latin-1")
