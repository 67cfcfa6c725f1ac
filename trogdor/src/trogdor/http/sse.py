"""Held-open streams of server-sent events. They end when the server stops, when the client goes, or when it lags."""

import asyncio
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from trogdor.http.message import Response

MAX_WAITING = 10_000
"""Events that may wait for one slow reader before it is cut off."""

BEAT_S = 1.0

Write = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name, its data as JSON, and the id that a client comes back with (Last-Event-ID)."""

    name: str
    data: Any
    id: str = ""

    def encode(self) -> bytes:
        """As it goes on the wire."""
        id_line = b"id: " + self.id.encode() + b"\n" if self.id else b""
        return b"event: " + self.name.encode() + b"\n" + id_line + b"data: " + to_json(self.data) + b"\n\n"


class Feed:
    """A queue of events for one reader: ``put`` never waits, ``async for`` gives them."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._closed = False

    def put(self, event: Event) -> None:
        """Hands an event over; a reader with too many waiting is cut off and has to come back."""
        if self._closed:
            return
        if self._queue.qsize() >= MAX_WAITING:
            self.close()
        else:
            self._queue.put_nowait(event)

    def close(self) -> None:
        """Ends the stream after what waits already."""
        if not self._closed:
            self._closed = True
            self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncGenerator[Event, None]:
        while (event := await self._queue.get()) is not None:
            yield event


_open: "weakref.WeakSet[EventStream]" = weakref.WeakSet()


class EventStream(Response):
    """Answers with the events of ``source`` as they come, and a comment line each second.

    The generator is closed when the client goes or the server stops: clean up in its ``finally``.
    """

    def __init__(self, source: AsyncGenerator[Event, None]) -> None:
        super().__init__(b"", 200, {"Cache-Control": "no-store"}, "text/event-stream")
        self._source = source
        self._ended = asyncio.Event()
        _open.add(self)

    def _length(self) -> dict[str, str]:
        return {"transfer-encoding": "chunked"}

    def end(self) -> None:
        """Ends the stream from the server's side."""
        self._ended.set()

    async def send(self, write: Write, gone: asyncio.Event) -> None:
        """Writes events until there are no more, the client is gone, or the stream is ended."""
        async with aclosing(self._source):
            tasks = {asyncio.ensure_future(gone.wait()), asyncio.ensure_future(self._ended.wait())}
            try:
                await self._send_events(tasks, write)
            finally:
                for task in tasks:
                    task.cancel()

    async def _send_events(self, ends: set["asyncio.Task[Any]"], write: Write) -> None:
        following = asyncio.ensure_future(anext(self._source, None))
        try:
            while True:
                done, _ = await asyncio.wait({following, *ends}, timeout=BEAT_S, return_when=asyncio.FIRST_COMPLETED)
                if done & ends:
                    return
                chunk = b":\n\n"
                if following in done:
                    event = following.result()
                    if event is None:
                        return
                    chunk = event.encode()
                    following = asyncio.ensure_future(anext(self._source, None))
                await write(chunk)
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following


def end_all() -> None:
    """Ends every open stream of this process."""
    for stream in list(_open):
        stream.end()
