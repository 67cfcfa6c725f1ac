"""Durations and times of day as people type them."""

import re
import time
from datetime import datetime

_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


def parse_duration_ms(text: str) -> int:
    """``500ms``, ``30s``, ``5m``, ``1h30m`` in whole ms. Raises ValueError that says what is wanted."""
    return round(parse_delay_ms(text))


def parse_delay_ms(text: str) -> float:
    """The same, and fractions of a ms: ``0.5ms``. Raises ValueError that says what is wanted."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration: write 500ms, 30s, 5m or 1h30m")
    return whole(sum(float(number) * _UNIT_MS[unit] for number, unit in parts))


def whole(number: float) -> float:
    """The number as JSON should show it: an int where it is one."""
    return int(number) if number.is_integer() else number


def parse_instant_ms(text: str) -> int:
    """``14:30``, ``14:30:05`` (the next such time of day) or an ISO time, in ms since the epoch.

    Local time unless the text names a zone. Raises ValueError that says what is wanted.
    """
    now = datetime.now().astimezone()
    clock = re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", text)
    try:
        if clock:
            hour, minute, second = (int(part or 0) for part in clock.groups())
            at = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
            ahead_s = (at.timestamp() - now.timestamp()) % 86_400
            return round((now.timestamp() + ahead_s) * 1000)
        return round(datetime.fromisoformat(text).astimezone().timestamp() * 1000)
    except ValueError:
        raise ValueError(f"{text!r} is no time: write 14:30, 14:30:05 or 2026-01-31T14:30:05+01:00") from None


def say_duration(duration_ms: float) -> str:
    """A duration in the form that parse_duration_ms reads: ``30s``, ``1m30s``, ``1.5s``, ``250ms``."""
    whole = round(duration_ms)
    if whole < 1000:
        return f"{whole}ms"
    parts = []
    for unit in ("h", "m"):
        count, whole = divmod(whole, _UNIT_MS[unit])
        if count:
            parts.append(f"{count}{unit}")
    if whole or not parts:
        parts.append(f"{whole / 1000:g}s")
    return "".join(parts)


def now_ms() -> int:
    """The wall clock, in ms since the epoch."""
    return time.time_ns() // 1_000_000
