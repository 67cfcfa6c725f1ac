"""JSON values read as Jackson reads them for upstream's specs: numeric strings, truncated floats, one for a list.

Source of each rule: Java Trogdor 4.1.0, recorded on the wire. Specs of our own do not use these types: they are strict.
"""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1
INT_MIN, INT_MAX = -(2**31), 2**31 - 1

_NUMBER = re.compile(r"\s*[+-]?\d+\s*")


def _read_whole(value: Any, low: int, high: int, java: str) -> int:
    if value is None or value == "":
        return 0
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    elif isinstance(value, float) and low <= value <= high:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        shown = f'String "{value}"' if isinstance(value, str) else type(value).__name__
        raise PydanticCustomError("jackson_number", f"{shown}: not a valid `{java}` value")
    return value


def _read_double(value: Any) -> float:
    if value is None or value == "":
        return 0.0
    try:
        if isinstance(value, bool):
            raise ValueError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise PydanticCustomError("jackson_number", "not a valid `double` value") from None


def _read_boolean(value: Any) -> bool:
    if value is None:
        return False
    if isinstance(value, bool | int):
        return bool(value)
    if isinstance(value, str) and value.strip() in ("true", "True", "TRUE", "false", "False", "FALSE", ""):
        return value.strip().lower() == "true"
    raise PydanticCustomError("jackson_boolean", "only `true` or `false` is recognised")


def read_string(value: Any) -> str:
    """A string as Jackson reads one: scalars become their JSON text, ``null`` the empty string."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | str):
        return str(value)
    raise PydanticCustomError("jackson_string", "a string is wanted here")


def _read_strings(value: Any) -> list[str]:
    if value is None:
        return []
    return [read_string(item) for item in (value if isinstance(value, list | tuple) else [value])]


def _read_list(value: Any) -> Any:
    if value is None:
        return []
    return value if isinstance(value, list | tuple) else [value]


def _read_map(value: Any) -> Any:
    return {} if value is None else value


def _read_string_map(value: Any) -> Any:
    return {key: read_string(item) for key, item in value.items()} if isinstance(value, dict) else _read_map(value)


Long = Annotated[int, BeforeValidator(lambda value: _read_whole(value, LONG_MIN, LONG_MAX, "long"))]
Int = Annotated[int, BeforeValidator(lambda value: _read_whole(value, INT_MIN, INT_MAX, "int"))]
Double = Annotated[float, BeforeValidator(_read_double)]
Boolean = Annotated[bool, BeforeValidator(_read_boolean)]
String = Annotated[str, BeforeValidator(read_string)]
Strings = Annotated[tuple[str, ...], BeforeValidator(_read_strings)]
StringMap = Annotated[dict[str, str], BeforeValidator(_read_string_map)]
"""Fields of upstream's specs. ``null`` is the type's empty value, as in upstream's constructors."""

ListOf = BeforeValidator(_read_list)
"""For a list of anything: a single value stands for a list of one, ``null`` for an empty list."""

MapOf = BeforeValidator(_read_map)
"""For a map of anything: ``null`` stands for an empty map."""
