"""What survives the coordinator: tasks, workers, events, settings; on SQLite, or PostgreSQL by URL.

Every change is a whole row put or deleted by its key. Changes made in one turn of the event loop, or while a commit is
under way, share the next commit. What waits for a disk or a network is done by a thread. SQLite's usual commit is not:
it hands a few pages to the kernel, which takes less than to hand them to a thread.
"""

import asyncio
import fcntl
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trogdor.coordinator.database import (
    NUMBER_KEY,
    DatabaseError,
    LeadLost,
    RowsBefore,
    Table,
    Values,
    database_of,
    without_password,
)
from trogdor.wire.errors import Unavailable

log = logging.getLogger(__name__)

FORMAT = "2"
OLDER_FORMATS = ("1",)
"""Those whose stores are read too: what they lack is added."""
CHECKPOINT_COMMITS = 1000
"""A checkpoint, which waits for the disk, is made this often, beside the commits and not by one of them."""

ABOUT = Table("about", {"key": "VARCHAR", "value": "VARCHAR"})

TASKS = Table(
    "tasks",
    {
        "seq": NUMBER_KEY,
        "id": "VARCHAR NOT NULL",
        "parent": "BIGINT",
        "original": "TEXT NOT NULL",
        "spec": "TEXT NOT NULL",
        "state": "VARCHAR NOT NULL",
        "started_ms": "BIGINT NOT NULL",
        "done_ms": "BIGINT NOT NULL",
        "cancelled": "BOOLEAN NOT NULL",
        "destroyed": "BOOLEAN NOT NULL",
        "error": "TEXT NOT NULL",
        "lease": "VARCHAR NOT NULL",
        "workers": "TEXT NOT NULL DEFAULT '{}'",
    },
)
"""``original`` is what an idempotent create is compared with, ``spec`` the effective one. ``workers``: node → id."""

WORKERS = Table(
    "workers",
    {
        "id": NUMBER_KEY,
        "task_seq": "BIGINT NOT NULL",
        "node": "VARCHAR NOT NULL",
        "phase": "VARCHAR NOT NULL",
        "started_ms": "BIGINT NOT NULL",
        "done_ms": "BIGINT NOT NULL",
        "error": "TEXT NOT NULL",
        "status": "TEXT NOT NULL",
    },
)
"""``phase`` is the last one the agent has acknowledged. A worker without a row is one that no agent was told of."""

FOUND = Table("found", {"task_seq": NUMBER_KEY, "found": "TEXT NOT NULL"})
"""Of composites whose nodes were asked for: whom they hit and how that was found."""

EVENTS = Table("events", {"seq": NUMBER_KEY, "body": "TEXT NOT NULL"})

EVENTS_BEFORE = RowsBefore(EVENTS.name, EVENTS.columns)

TABLES = (ABOUT, TASKS, WORKERS, FOUND, EVENTS)

RETRY_S = 0.5
"""How long changes that could not be written wait for the next commit."""


MOST_EVENTS = 10_000
"""So many events wait while nothing can be written; then the oldest are not kept. Other rows are as many as things."""
MOST_WAITING = 50_000
"""With so many rows waiting no more tasks are taken."""

Row = tuple[Table, Any]
"""A row's table and key."""


class StoreError(Unavailable):
    """The store cannot be opened or written; says which one and why."""


class NotYetWritten(StoreError):
    """Changes that could not be written; they are part of the next commit."""


class RowsRefused(StoreError):
    """Some rows that the database takes under no circumstances. All others of their commit are on disk."""

    def __init__(self, message: str, rows: frozenset[Row]) -> None:
        super().__init__(message)
        self.rows = rows


class _Done(asyncio.Future[None]):
    """The end of a commit. Whoever waits for it may be cancelled, and is when it comes; the commit goes on."""

    def cancel(self, msg: Any = None) -> bool:
        return False


@dataclass
class _Batch:
    """What one commit will put (a row) and delete (None), by table and key."""

    done: _Done
    changes: dict[Table, dict[Any, Values | None]] = field(default_factory=dict)


class Store:
    """Opened on the event loop that uses it. ``put`` and ``delete`` return a future that is done once on disk."""

    def __init__(self, url: str, sync: str = "normal", lock: Path | None = None) -> None:
        """``url`` as ``database_of`` reads it; ``sync`` ``full`` survives power loss; ``lock``: one at a time."""
        self._shown = without_password(url)
        try:
            self._database = database_of(url, sync)
        except DatabaseError as error:
            raise StoreError(f"the store {self._shown}: {error}") from None
        self._of_all: tuple[type[Exception], ...] = (DatabaseError, *self._database.passing)
        """What concerns the whole of a commit; any other exception is some row's fault."""
        self._lock_path = lock
        self._lock: int | None = None
        self._pending: _Batch | None = None
        self._newest: asyncio.Future[None] | None = None
        """Of the newest batch, waiting or on its way."""
        self._busy = False
        self._retrying: asyncio.TimerHandle | None = None
        self._commits = 0
        self.problem = ""
        """Why nothing can be written now; empty: it can."""
        self.refused_rows = self.events_dropped = 0
        self._checkpointing: asyncio.Future[None] | None = None
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="trogdor-store", daemon=True)
        self.on_lead_lost: Callable[[StoreError], None] = log.error
        """Called when another coordinator has taken the database over: this one is to end."""

    async def open(self) -> None:
        """Opens it, and makes its tables where there are none. Raises StoreError."""
        self._loop = asyncio.get_running_loop()
        self._take_lock()
        self._thread.start()
        try:
            await self._call(self._open)
        except (DatabaseError, self._database.errors) as error:
            raise StoreError(f"the store {self._shown} cannot be opened: {error}") from None

    def _take_lock(self) -> None:
        if self._lock_path is None:
            return
        self._lock = os.open(self._lock_path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(
                f"{self._lock_path} is held by another coordinator: stop it, or give another --state"
            ) from None

    def _open(self) -> None:
        self._database.open()
        for table in TABLES:
            self._database.change_many(table.create(self._database.number_key), [()])
            there = self._database.columns(table.name)
            for column in table.columns.keys() - there:
                self._database.change_many(table.add(column), [()])
        self._database.commit()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def _call(self, function: Callable[[], Any]) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = self._loop.create_future()

        def run() -> None:
            try:
                result, error = function(), None
            except Exception as raised:
                result, error = None, raised
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(_settle, future, result, error)

        self._calls.put(run)
        return future

    def put(self, table: Table, row: Values) -> "asyncio.Future[None]":
        """Puts a row, values in the order of the columns, in the place of the one with its key.

        The future raises StoreError.
        """
        return self._change(table, row[0], row)

    def delete(self, table: Table, key: Any) -> "asyncio.Future[None]":
        """Deletes the row with this key."""
        return self._change(table, key, None)

    def _change(self, table: Table, key: Any, row: Values | None) -> "asyncio.Future[None]":
        pending = self._pending
        if pending is None:
            pending = self._pending = _Batch(_Done(loop=self._loop))
            pending.done.add_done_callback(_retrieve)
            self._newest = pending.done
            if not self._busy:
                self._busy = True
                self._loop.call_soon(self._gather)
        pending.changes.setdefault(table, {})[key] = row
        return pending.done

    def _gather(self) -> None:
        """What was asked since the first change, and is read by now, shares its commit."""
        self._loop.call_soon(self._commit_pending)

    def _commit_pending(self) -> None:
        batch, self._pending = self._pending, None
        if batch is None:
            self._busy = False
            return
        if self._database.waits:
            committed = self._call(lambda: self._commit(batch.changes))
            committed.add_done_callback(lambda future: self._committed(batch, future.exception()))
            return
        try:
            self._commit(batch.changes)
        except Exception as error:
            self._committed(batch, error)
        else:
            self._committed(batch, None)

    def _committed(self, batch: _Batch, error: BaseException | None) -> None:
        if error is None or isinstance(error, RowsRefused):
            if self.problem:
                self.problem = ""
                log.warning("the store %s can be written again", self._shown)
            if error is not None:
                self.refused_rows += len(error.rows)
                log.error("%s", error)
            _settle(batch.done, None, error)
            self._commits += 1
            if self._commits >= CHECKPOINT_COMMITS and self._database.needs_checkpoints:
                self._start_checkpoint()
            self._commit_pending()
        else:
            self._failed(batch, error)

    def _failed(self, batch: _Batch, error: BaseException) -> None:
        """Tells who waits for a batch. What of it was not changed anew since is tried again, where that may help."""
        may_pass = isinstance(error, self._database.passing)
        problem = (NotYetWritten if may_pass else StoreError)(f"the store {self._shown} cannot be written: {error}")
        if self.problem != str(problem):  # and not every half second again
            self.problem = str(problem)
            log.error("%s; tried again every %g s", problem, RETRY_S)
        if isinstance(error, LeadLost):
            self.on_lead_lost(problem)
        newer = self._pending.changes if self._pending is not None else {}
        for table, rows in batch.changes.items() if may_pass else ():
            for key, row in rows.items():
                if key not in newer.get(table, {}):
                    self._change(table, key, row)
        self._drop_oldest_events()
        _settle(batch.done, None, problem)
        self._retrying = self._loop.call_later(RETRY_S, self._commit_pending)

    @property
    def waiting(self) -> int:
        """How many rows are not on disk yet."""
        return sum(map(len, self._pending.changes.values())) if self._pending is not None else 0

    def is_full(self) -> bool:
        """Whether so much waits that could not be written that no more is to be asked of it."""
        return bool(self.problem) and self.waiting >= MOST_WAITING

    def _drop_oldest_events(self) -> None:
        events = self._pending.changes.get(EVENTS, {}) if self._pending is not None else {}
        for seq in sorted(events)[: max(0, len(events) - MOST_EVENTS)]:
            del events[seq]
            self.events_dropped += 1

    def _start_checkpoint(self) -> None:
        if self._checkpointing is None or self._checkpointing.done():
            self._commits = 0
            self._checkpointing = self._loop.run_in_executor(None, self._database.checkpoint)
            self._checkpointing.add_done_callback(_retrieve)

    def _commit(self, changes: Mapping[Table, Mapping[Any, Values | None]]) -> None:
        """Commits, once more where the session was lost meanwhile: whole rows may be put twice."""
        try:
            self._change_all(changes)
        except Exception as error:
            if isinstance(error, self._database.errors) and self._database.is_lost():
                self._database.open()
                self._change_all(changes)
            elif isinstance(error, self._of_all):
                raise
            else:
                self._change_each(changes)

    def _change_all(self, changes: Mapping[Table, Mapping[Any, Values | None]]) -> None:
        database = self._database
        with self._transaction():
            for table, rows in changes.items():
                if put := [row for row in rows.values() if row is not None]:
                    database.change_many(table.put, put)
                if gone := [(key,) for key, row in rows.items() if row is None]:
                    database.change_many(table.delete, gone)

    def _change_each(self, changes: Mapping[Table, Mapping[Any, Values | None]]) -> None:
        """One commit of all rows that can be written. Raises RowsRefused for the others."""
        refused: dict[Row, Exception] = {}
        with self._transaction():
            for table, rows in changes.items():
                for key, row in rows.items():
                    try:
                        self._database.change_one(*((table.delete, (key,)) if row is None else (table.put, row)))
                    except Exception as error:
                        if isinstance(error, self._of_all):
                            raise
                        refused[table, key] = error
        if refused:
            whys = "; ".join(f"{table.name} {key!r}: {error}" for (table, key), error in refused.items())
            raise RowsRefused(f"the store {self._shown} refuses {len(refused)} rows: {whys[:1000]}", frozenset(refused))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            yield
            self._database.commit()
        except BaseException:
            self._database.roll_back()
            raise

    async def read(self, sql: str, values: Values = ()) -> list[dict[str, Any]]:
        """The rows of a query, with a ``?`` for each value, after every change made so far."""
        await self.flush()
        return await self._call(lambda: self._database.read(sql, values))  # type: ignore[no-any-return]

    def size_bytes(self) -> int:
        """How much of this machine's disk it takes; 0: it is elsewhere."""
        return self._database.size_bytes()

    def prune_events(self, before_seq: int) -> "asyncio.Future[None]":
        """Forgets the events before a sequence number."""
        return self.delete(EVENTS_BEFORE, before_seq)

    async def flush(self) -> None:
        """Returns once every change made so far is on disk that ever can be. Raises StoreError."""
        if self._newest is not None:
            with suppress(RowsRefused):
                await asyncio.shield(self._newest)  # so that whoever gives up is free at once

    def flush_then(self, call: Callable[[], None]) -> None:
        """Calls once every change made so far is on disk that ever can be; not at all where nothing can."""
        if self._newest is None:
            self._loop.call_soon(call)
        else:
            self._newest.add_done_callback(lambda future: self._flushed(future.exception(), call))

    def _flushed(self, error: BaseException | None, call: Callable[[], None]) -> None:
        if error is None or isinstance(error, RowsRefused):
            call()
        elif isinstance(error, NotYetWritten):
            self.flush_then(call)

    async def close(self) -> None:
        """Commits what is pending and closes it."""
        if self._thread.is_alive():
            with suppress(StoreError):
                await self.flush()
            if self._retrying is not None:
                self._retrying.cancel()
            if self._checkpointing is not None:
                await asyncio.wait([self._checkpointing])
            await self._call(self._database.close)
            self._calls.put(None)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _settle(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _retrieve(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()  # logged where it happened; nobody may be waiting


def rows_by(rows: Iterable[dict[str, Any]], key: str) -> dict[Any, list[dict[str, Any]]]:
    """Rows grouped by one of their columns."""
    grouped: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row[key], []).append(row)
    return grouped
