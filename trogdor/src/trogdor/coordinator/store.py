"""What survives the coordinator: tasks, workers, events, settings; on SQLite, or PostgreSQL by URL.

Every change is a whole row put or deleted by its key. Changes made while a commit is under way share the next one; one
thread does all of it, so that a slow disk never stops the event loop.
"""

import asyncio
import fcntl
import importlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

log = logging.getLogger(__name__)

FORMAT = "1"
BUSY_MS = 5000
CHECKPOINT_COMMITS = 1000
"""A checkpoint, which waits for the disk, is made this often, beside the commits and not by one of them."""

schema = sa.MetaData()

ABOUT = sa.Table("about", schema, sa.Column("key", sa.String, primary_key=True), sa.Column("value", sa.String))

TASKS = sa.Table(
    "tasks",
    schema,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("id", sa.String, nullable=False),
    sa.Column("parent", sa.BigInteger),
    sa.Column("original", sa.Text, nullable=False),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("started_ms", sa.BigInteger, nullable=False),
    sa.Column("done_ms", sa.BigInteger, nullable=False),
    sa.Column("cancelled", sa.Boolean, nullable=False),
    sa.Column("destroyed", sa.Boolean, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("lease", sa.String, nullable=False),
)
"""``original`` is what an idempotent create is compared with, ``spec`` the effective one."""

WORKERS = sa.Table(
    "workers",
    schema,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("task_seq", sa.BigInteger, nullable=False),
    sa.Column("node", sa.String, nullable=False),
    sa.Column("phase", sa.String, nullable=False),
    sa.Column("started_ms", sa.BigInteger, nullable=False),
    sa.Column("done_ms", sa.BigInteger, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
)
"""``phase`` is the last one the agent has acknowledged."""

EVENTS = sa.Table(
    "events",
    schema,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("body", sa.Text, nullable=False),
)

Row = Mapping[str, Any]


class StoreError(Exception):
    """The store cannot be opened or written; says which one and why."""


@dataclass
class _Batch:
    """What one commit will put (a row) and delete (None), by table and key."""

    changes: dict[sa.Table, dict[Any, Row | None]] = field(default_factory=dict)
    done: "asyncio.Future[None] | None" = None


class Store:
    """Opened on the event loop that uses it. ``put`` and ``delete`` return a future that is done once on disk."""

    def __init__(self, url: str, sync: str = "normal", lock: Path | None = None) -> None:
        """``url`` as SQLAlchemy reads it; ``sync`` ``full`` survives power loss; ``lock`` keeps a second one out."""
        self.url = sa.make_url(url)
        self.sync = sync
        self._lock_path = lock
        self._lock: int | None = None
        self._pending = _Batch()
        self._busy = False
        self._commits = 0
        self._checkpointing: asyncio.Future[None] | None = None
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="trogdor-store", daemon=True)
        self._statements: dict[tuple[sa.Table, bool], str] = {}

    async def open(self) -> None:
        """Opens it, and makes its tables where there are none. Raises StoreError."""
        self._loop = asyncio.get_running_loop()
        self._take_lock()
        self._thread.start()
        try:
            await self._call(self._connect)
        except sa.exc.SQLAlchemyError as error:
            raise StoreError(f"the store {self._shown} cannot be opened: {error}") from None

    @property
    def _shown(self) -> str:
        return self.url.render_as_string(hide_password=True)

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

    def _connect(self) -> None:
        dialect = self.url.get_backend_name()
        if dialect not in ("sqlite", "postgresql"):
            raise StoreError(f"the store {self._shown}: sqlite and postgresql are supported, not {dialect}")
        insert = importlib.import_module(f"sqlalchemy.dialects.{dialect}").insert
        arguments: dict[str, Any] = {"paramstyle": "named"} if dialect == "sqlite" else {"pool_pre_ping": True}
        self._engine = sa.create_engine(self.url, **arguments)
        if dialect == "sqlite":
            sa.event.listen(self._engine, "connect", self._set_pragmas)
        schema.create_all(self._engine)
        self._raw = self._engine.raw_connection()
        if dialect == "postgresql":
            self._lead()
        for table in schema.sorted_tables:
            self._statements[table, True] = self._compile(_upsert(insert, table))
            self._statements[table, False] = self._compile(_delete(table))

    def _set_pragmas(self, connection: Any, _record: Any) -> None:
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={'FULL' if self.sync == 'full' else 'NORMAL'}",
            f"busy_timeout={BUSY_MS}",
            "wal_autocheckpoint=0",
        ):
            connection.execute(f"PRAGMA {pragma}")

    def _lead(self) -> None:
        """One coordinator leads a PostgreSQL store: the one whose session holds the advisory lock."""
        cursor = self._raw.cursor()
        cursor.execute("SELECT pg_try_advisory_lock(hashtext('trogdor'))")
        row = cursor.fetchone()
        self._raw.commit()
        if not row or not row[0]:
            raise StoreError(f"the store {self._shown} is led by another coordinator")

    def _compile(self, statement: Any) -> str:
        return str(statement.compile(dialect=self._engine.dialect))

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

    def put(self, table: sa.Table, key: Any, row: Row) -> "asyncio.Future[None]":
        """Puts a row in the place of the one with this key. The future raises StoreError."""
        return self._change(table, key, row)

    def delete(self, table: sa.Table, key: Any) -> "asyncio.Future[None]":
        """Deletes the row with this key."""
        return self._change(table, key, None)

    def _change(self, table: sa.Table, key: Any, row: Row | None) -> "asyncio.Future[None]":
        pending = self._pending
        pending.changes.setdefault(table, {})[key] = row
        if pending.done is None:
            pending.done = self._loop.create_future()
            pending.done.add_done_callback(_retrieve)
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._commit_pending)
        return pending.done

    def _commit_pending(self) -> None:
        batch, self._pending = self._pending, _Batch()
        committed = self._call(lambda: self._commit(batch.changes))
        committed.add_done_callback(lambda future: self._committed(batch, future.exception()))

    def _committed(self, batch: _Batch, error: BaseException | None) -> None:
        assert batch.done is not None
        if error is None:
            _settle(batch.done, None, None)
            self._commits += 1
            if self._commits >= CHECKPOINT_COMMITS and self._engine.dialect.name == "sqlite":
                self._start_checkpoint()
        else:
            log.error("the store %s cannot be written: %s", self._shown, error)
            _settle(batch.done, None, StoreError(f"the store {self._shown} cannot be written: {error}"))
        if self._pending.done is not None:
            self._commit_pending()
        else:
            self._busy = False

    def _start_checkpoint(self) -> None:
        if self._checkpointing is None or self._checkpointing.done():
            self._commits = 0
            self._checkpointing = self._loop.run_in_executor(None, self._checkpoint)
            self._checkpointing.add_done_callback(_retrieve)

    def _checkpoint(self) -> None:
        with self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

    def _commit(self, changes: Mapping[sa.Table, Mapping[Any, Row | None]]) -> None:
        cursor = self._raw.cursor()
        try:
            for table, rows in changes.items():
                put = [row for row in rows.values() if row is not None]
                gone = [{"key": key} for key, row in rows.items() if row is None]
                if put:
                    cursor.executemany(self._statements[table, True], put)
                if gone:
                    cursor.executemany(self._statements[table, False], gone)
            self._raw.commit()
        except BaseException:
            self._raw.rollback()
            raise
        finally:
            cursor.close()

    async def read(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        """The rows of a query, as it stands after every change made so far."""
        await self.flush()
        return await self._call(lambda: self._select(query))  # type: ignore[no-any-return]

    def _select(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def prune_events(self, before_seq: int) -> "asyncio.Future[None]":
        """Forgets the events before a sequence number."""
        return self._call(lambda: self._execute(sa.delete(EVENTS).where(EVENTS.c.seq < before_seq)))

    def _execute(self, statement: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(statement)

    async def flush(self) -> None:
        """Returns once every change made so far is on disk. Raises StoreError."""
        if self._pending.done is not None:
            await asyncio.shield(self._pending.done)
        else:
            await self._call(lambda: None)

    def flush_then(self, call: Callable[[], None]) -> None:
        """Calls once every change made so far is on disk; not at all when it cannot be written."""
        flushed = self._pending.done or self._call(lambda: None)
        flushed.add_done_callback(lambda future: None if future.exception() else call())

    async def close(self) -> None:
        """Commits what is pending and closes it."""
        if self._thread.is_alive():
            with suppress(StoreError):
                await self.flush()
            if self._checkpointing is not None:
                await asyncio.wait([self._checkpointing])
            await self._call(self._disconnect)
            self._calls.put(None)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _disconnect(self) -> None:
        if hasattr(self, "_raw"):
            self._raw.close()
        if hasattr(self, "_engine"):
            self._engine.dispose()


def _upsert(insert: Any, table: sa.Table) -> Any:
    statement = insert(table).values({column.name: sa.bindparam(column.name) for column in table.columns})
    key = next(iter(table.primary_key.columns))
    rest = {column.name: statement.excluded[column.name] for column in table.columns if column is not key}
    return statement.on_conflict_do_update(index_elements=[key], set_=rest)


def _delete(table: sa.Table) -> Any:
    return sa.delete(table).where(next(iter(table.primary_key.columns)) == sa.bindparam("key"))


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
