"""The one ordered stream of what happened: stored, and followed by any number of readers."""

import json
import logging
from collections import deque
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from trogdor.coordinator.state import dump
from trogdor.coordinator.store import EVENTS, Store
from trogdor.http.sse import Event, Feed
from trogdor.instant import Clock
from trogdor.logs import log_event

if TYPE_CHECKING:
    from trogdor.coordinator.webhooks import Sender

log = logging.getLogger(__name__)

KEPT_IN_MEMORY = 10_000
KEPT = 200_000
PRUNE_EVERY = 1000
"""So few at once take a millisecond of the event loop."""
MAX_ANSWER = 10_000
MARKS = ("mark", "node-down")
"""What is a line across the timeline; kept in memory apart from the rest, of which there is far more."""
MARKS_IN_MEMORY = 1000

NEWEST = f"SELECT * FROM {EVENTS.name} ORDER BY seq DESC LIMIT ?"
NAMING = f"SELECT seq FROM {EVENTS.name} WHERE body LIKE ? ESCAPE '!' ORDER BY seq LIMIT 1"
FOLLOWING = f"SELECT * FROM {EVENTS.name} WHERE seq > ? ORDER BY seq LIMIT ?"


class Events:
    """Numbers what happens, and hands it to the store and to those who follow."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._next = 1
        self.recent: deque[dict[str, Any]] = deque(maxlen=KEPT_IN_MEMORY)
        self.marks: deque[dict[str, Any]] = deque(maxlen=MARKS_IN_MEMORY)
        self._feeds: set[Feed] = set()
        self.senders: list[Sender] = []
        """Who else is told of each event."""

    async def load(self) -> None:
        """Takes up the numbering where the store ends."""
        rows = await self._store.read(NEWEST, (KEPT_IN_MEMORY,))
        self.recent.extend(json.loads(row["body"]) for row in reversed(rows))
        self.marks.extend(event for event in self.recent if event["type"] in MARKS)
        if rows:
            self._next = rows[0]["seq"] + 1

    def emit(self, kind: str, source: str = "coordinator", **fields: Any) -> None:
        """Something happened now. Fields that are None are left out."""
        seq = self._next
        event: dict[str, Any] = {"seq": seq, "atMs": self._clock.wall_ms(), "source": source, "type": kind}
        event |= {name: value for name, value in fields.items() if value is not None}
        self._next += 1
        self.recent.append(event)
        if kind in MARKS:
            self.marks.append(event)
        self._store.put(EVENTS, (seq, dump(event)))
        if seq % PRUNE_EVERY == 0:
            self._store.prune_events(seq - KEPT)
        log_event(log, logging.DEBUG if kind == "sample" else logging.INFO, event)
        for sender in self.senders:
            sender.put(event)
        for feed in self._feeds:
            feed.put(_as_sse(event))

    async def after(self, seq: int, limit: int) -> list[dict[str, Any]]:
        """At most ``limit`` events after a number, oldest first."""
        limit = min(limit, MAX_ANSWER) if limit > 0 else MAX_ANSWER
        if self.recent and seq + 1 < self.recent[0]["seq"] and self.recent[0]["seq"] > 1:
            return [json.loads(row["body"]) for row in await self._store.read(FOLLOWING, (seq, limit))]
        return [event for event in self.recent if event["seq"] > seq][:limit]

    async def since(self, seq: int) -> list[dict[str, Any]]:
        """All events from a number up to now, oldest first."""
        found: list[dict[str, Any]] = []
        after, last = seq - 1, self.last
        while after < last and (more := await self.after(after, MAX_ANSWER)):
            found += more
            after = more[-1]["seq"]
        return found

    async def first_of(self, task_id: str) -> int:
        """The number of a task's first event; that of the next event when none is kept."""
        rows = await self._store.read(NAMING, (f'%"taskId":{_escaped(dump(task_id))}%',))
        return int(rows[0]["seq"]) if rows else self._next

    async def follow(self, seq: int) -> AsyncGenerator[Event, None]:
        """Every event after a number, and then each as it comes."""
        feed = Feed()
        self._feeds.add(feed)
        try:
            sent = seq
            while missed := await self.after(sent, MAX_ANSWER):
                for event in missed:
                    sent = event["seq"]
                    yield _as_sse(event)
            async for following in feed:
                if int(following.id) > sent:
                    yield following
        finally:
            self._feeds.discard(feed)

    @property
    def last(self) -> int:
        """The number of the latest event."""
        return self._next - 1


def _escaped(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _as_sse(event: dict[str, Any]) -> Event:
    return Event(event["type"], event, str(event["seq"]))
