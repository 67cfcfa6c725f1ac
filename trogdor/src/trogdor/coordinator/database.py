"""The two databases that a store can be on, by URL: SQLite of the standard library, and PostgreSQL over psycopg.

Both read the same SQL, five tables of which every change is a whole row put or deleted by its key; a layer between us
and them would take longer to import than the coordinator has to start.
"""

import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

BUSY_MS = 5000
LEADER = "hashtext('trogdor')"
"""The advisory lock whose session leads a PostgreSQL database."""

NUMBER_KEY = "NUMBER KEY"
"""The type of a column that is a whole number and the key, by its name in each database."""

Values = Sequence[Any]


@dataclass(frozen=True, eq=False)
class Table:
    """A table by its columns, name → type as both databases understand it. The first is the key."""

    name: str
    columns: Mapping[str, str]

    @cached_property
    def key(self) -> str:
        """The column that a row is put and deleted by."""
        return next(iter(self.columns))

    def create(self, number_key: str) -> str:
        """Makes the table where there is none; ``number_key``: what a database calls a key that is a whole number."""
        columns = ", ".join(f"{name} {kind.replace(NUMBER_KEY, number_key)}" for name, kind in self.columns.items())
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({columns}, PRIMARY KEY ({self.key}))"

    def add(self, column: str) -> str:
        """Gives a table that was made before there was this column, which has a default, the column."""
        return f"ALTER TABLE {self.name} ADD COLUMN {column} {self.columns[column]}"

    @cached_property
    def put(self) -> str:
        """Puts a row, values in the order of the columns, in the place of the one with its key."""
        names, marks = ", ".join(self.columns), ", ".join("?" * len(self.columns))
        rest = ", ".join(f"{name} = excluded.{name}" for name in self.columns if name != self.key)
        return f"INSERT INTO {self.name} ({names}) VALUES ({marks}) ON CONFLICT ({self.key}) DO UPDATE SET {rest}"

    @cached_property
    def delete(self) -> str:
        """Deletes the row with a key."""
        return f"DELETE FROM {self.name} WHERE {self.key} = ?"


class RowsBefore(Table):
    """A table of which all rows before a key are deleted at once."""

    @cached_property
    def delete(self) -> str:
        """Deletes the rows with lesser keys."""
        return f"DELETE FROM {self.name} WHERE {self.key} < ?"


class DatabaseError(Exception):
    """A database that cannot be opened, read or written; says why."""


class LeadLost(DatabaseError):
    """Another coordinator leads this database."""


class Database(Protocol):
    """A session with a database. SQL has a ``?`` for each value.

    Changes are made by one thread at a time. Unless it ``waits``, ``read`` may be called by another meanwhile.
    """

    errors: type[Exception]
    """What its driver raises."""
    passing: tuple[type[Exception], ...]
    """Those after which the same may succeed, such as a full disk, a lock, a lost session."""
    number_key: str
    """Its type of a key that is a whole number of 64 bits."""
    waits: bool
    """Whether a commit waits, for a disk or a network: then it is made off the event loop."""
    needs_checkpoints: bool

    def open(self) -> None:
        """Opens the session, or another in the place of one that was lost. Raises ``errors``, DatabaseError."""

    def is_lost(self) -> bool:
        """Whether the session has ended without our doing."""

    def change_many(self, sql: str, rows: Sequence[Values]) -> None:
        """Changes many rows by one statement; nothing is kept before ``commit``."""

    def change_one(self, sql: str, row: Values) -> None:
        """Changes one row; when that fails, what was changed before it is still to be kept."""

    def commit(self) -> None:
        """Keeps what was changed."""

    def roll_back(self) -> None:
        """Forgets what was changed."""

    def read(self, sql: str, values: Values = ()) -> list[dict[str, Any]]:
        """The rows of a query."""

    def columns(self, table: str) -> set[str]:
        """The names of a table's columns."""

    def size_bytes(self) -> int:
        """How much of this machine's disk its files take."""

    def checkpoint(self) -> None:
        """Moves what was committed to its place, where that is ours to do. Called from any thread."""

    def close(self) -> None:
        """Ends the session."""


class Sqlite:
    """A file, written ahead to a log; ``sync`` ``full`` waits for the disk at each commit and survives power loss."""

    errors: type[Exception] = sqlite3.Error
    passing: tuple[type[Exception], ...] = (sqlite3.OperationalError,)
    number_key = "INTEGER"  # under any other name the key is an index beside the rows, and a commit twice as large
    needs_checkpoints = True

    def __init__(self, path: str, sync: str) -> None:
        self.waits = sync == "full"
        self._path = path
        self._sync = "FULL" if sync == "full" else "NORMAL"

    def open(self) -> None:
        self._session = self._connect()
        self._reading = self._connect()  # two threads at once in one session end each other's transactions

    def _connect(self) -> sqlite3.Connection:
        session = sqlite3.connect(self._path, timeout=BUSY_MS / 1000, check_same_thread=False)
        for pragma in ("journal_mode=WAL", f"synchronous={self._sync}", "wal_autocheckpoint=0"):
            session.execute(f"PRAGMA {pragma}")
        return session

    def is_lost(self) -> bool:
        return False

    def change_many(self, sql: str, rows: Sequence[Values]) -> None:
        self._session.executemany(sql, rows)

    def change_one(self, sql: str, row: Values) -> None:
        self._session.execute(sql, row)

    def commit(self) -> None:
        self._session.commit()

    def roll_back(self) -> None:
        self._session.rollback()

    def read(self, sql: str, values: Values = ()) -> list[dict[str, Any]]:
        return _as_dicts(self._reading.execute(sql, values))

    def columns(self, table: str) -> set[str]:
        return _names_of(self._session.execute(f"SELECT * FROM {table} LIMIT 0"))

    def size_bytes(self) -> int:
        files = (Path(self._path + suffix) for suffix in ("", "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def checkpoint(self) -> None:
        session = self._connect()
        session.execute("PRAGMA wal_checkpoint(PASSIVE)")
        session.close()

    def close(self) -> None:
        self._reading.close()
        self._session.close()


class Postgresql:
    """A server, over psycopg. Whoever holds its advisory lock leads; a session that ends gives the lock back."""

    number_key = "BIGINT NOT NULL"
    waits = True
    needs_checkpoints = False

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ImportError:
            raise DatabaseError("psycopg is missing: pip install 'pytrogdor[postgresql]'") from None
        self.errors: type[Exception] = psycopg.Error
        self.passing: tuple[type[Exception], ...] = (psycopg.OperationalError, psycopg.InterfaceError)
        self._psycopg = psycopg
        self._url = url

    def open(self) -> None:
        self._session = self._psycopg.connect(self._url)
        (lead,) = self.read(f"SELECT pg_try_advisory_lock({LEADER}) AS is_ours")
        if not lead["is_ours"]:
            self._session.close()
            raise LeadLost("it is led by another coordinator")

    def is_lost(self) -> bool:
        return bool(self._session.closed)

    def change_many(self, sql: str, rows: Sequence[Values]) -> None:
        with self._session.cursor() as cursor:
            cursor.executemany(sql.replace("?", "%s"), rows)

    def change_one(self, sql: str, row: Values) -> None:
        self._session.execute("SELECT 1")  # begins a transaction, where there is none: what follows is a savepoint
        with self._session.transaction():
            self._session.execute(sql.replace("?", "%s"), row)

    def commit(self) -> None:
        self._session.commit()

    def roll_back(self) -> None:
        if not self.is_lost():
            self._session.rollback()

    def read(self, sql: str, values: Values = ()) -> list[dict[str, Any]]:
        rows = _as_dicts(self._session.execute(sql.replace("?", "%s"), values))
        self._session.commit()
        return rows

    def columns(self, table: str) -> set[str]:
        return _names_of(self._session.execute(f"SELECT * FROM {table} LIMIT 0"))

    def size_bytes(self) -> int:
        return 0

    def checkpoint(self) -> None:
        """PostgreSQL does that itself."""

    def close(self) -> None:
        self._session.close()


def _names_of(cursor: Any) -> set[str]:
    return {column[0] for column in cursor.description}


def _as_dicts(cursor: Any) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def database_of(url: str, sync: str) -> Database:
    """The database that a URL names, not opened yet. Raises DatabaseError."""
    scheme, _, rest = url.partition("://")
    kind = scheme.partition("+")[0]  # as in postgresql+psycopg://
    if kind == "sqlite" and rest.startswith("/"):
        return Sqlite(rest[1:], sync)
    if kind in ("postgresql", "postgres"):
        return Postgresql(f"postgresql://{rest}")
    raise DatabaseError("sqlite:///PATH and postgresql://USER:PASSWORD@HOST:PORT/DATABASE are what is supported")


def without_password(url: str) -> str:
    """A URL as it may be logged."""
    return re.sub(r"(?<=:)[^/@]*(?=@)|(?<=password=)[^&]*", "***", url)
