"""One question to a PostgreSQL server by libpq's C interface, of which every version 5 has these functions.

psycopg, which the store is spoken to with, takes longer to import than everything else that asking takes.
"""

import ctypes
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

CONNECTION_OK, TUPLES_OK = 0, 2


class PostgresqlError(Exception):
    """The server does not answer, or refuses; says why."""


def bundled() -> list[str]:
    """The library in psycopg's wheel, where that is installed."""
    found = find_spec("psycopg_binary")
    packages = [Path(place).parent for place in (found and found.submodule_search_locations) or ()]
    return [str(path) for each in packages for path in each.glob("psycopg_binary.libs/libpq-*.so*")]


@cache
def _library() -> ctypes.CDLL:
    for name in ("libpq.so.5", *bundled()):
        try:
            library = ctypes.CDLL(name)
            break
        except OSError:
            continue
    else:
        raise PostgresqlError("libpq is missing: apt-get install libpq5, or pip install 'pytrogdor[postgresql]'")
    handle, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    texts = ctypes.POINTER(text)
    for function, result, *arguments in (
        ("connectdbParams", handle, texts, texts, number),
        ("status", number, handle),
        ("errorMessage", text, handle),
        ("exec", handle, handle, text),
        ("resultStatus", number, handle),
        ("getvalue", text, handle, number, number),
        ("clear", None, handle),
        ("finish", None, handle),
    ):
        declared = getattr(library, f"PQ{function}")
        declared.restype, declared.argtypes = result, arguments
    return library


def ask(question: str, parameters: Mapping[str, str]) -> str:
    """The one value that a query answers, as text.

    ``parameters`` are libpq's connection parameters, such as ``host`` and ``connect_timeout``. Raises PostgresqlError.
    """
    lib = _library()
    names, values = (
        (ctypes.c_char_p * (len(parameters) + 1))(*[word.encode() for word in words], None)
        for words in (parameters.keys(), parameters.values())
    )
    connection = lib.PQconnectdbParams(names, values, 0)
    try:
        if lib.PQstatus(connection) != CONNECTION_OK:
            raise PostgresqlError(_said(lib, connection))
        result = lib.PQexec(connection, question.encode())
        try:
            if lib.PQresultStatus(result) != TUPLES_OK:
                raise PostgresqlError(_said(lib, connection))
            return str(lib.PQgetvalue(result, 0, 0).decode())
        finally:
            lib.PQclear(result)
    finally:
        lib.PQfinish(connection)


def _said(lib: ctypes.CDLL, connection: int) -> str:
    """The first line of what went wrong."""
    told: bytes = lib.PQerrorMessage(connection)
    return next(iter(told.decode(errors="replace").strip().splitlines()), "no answer")
