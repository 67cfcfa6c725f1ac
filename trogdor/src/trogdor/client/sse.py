"""Server-sent events, as both daemons send them."""

import json
from dataclasses import dataclass, field
from typing import Any

MAX_EVENT_BYTES = 64 << 20


@dataclass
class Parser:
    """Lines in, events out: ``feed`` returns ``(type, data)`` once an event is whole; comments are ``("", None)``."""

    _type: str = "message"
    _data: list[str] = field(default_factory=list)
    _bytes: int = 0

    def feed(self, line: bytes) -> tuple[str, Any] | None:
        """Takes one line, with or without its end. Raises ValueError when the data is no JSON or too much."""
        text = line.rstrip(b"\r\n").decode()
        if not text:
            return self._whole()
        if text.startswith(":"):
            return "", None
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._type = value
        elif name == "data":
            self._bytes += len(value)
            if self._bytes > MAX_EVENT_BYTES:
                raise ValueError(f"an event of more than {MAX_EVENT_BYTES} bytes")
            self._data.append(value)
        return None

    def _whole(self) -> tuple[str, Any] | None:
        kind, data = self._type, self._data
        self._type, self._data, self._bytes = "message", [], 0
        return (kind, json.loads("\n".join(data))) if data else None
