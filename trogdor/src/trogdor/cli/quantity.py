"""Quantities beside durations, as people type them: shares, rates, sizes."""

import re

from trogdor.cli.duration import whole

_NUMBER_AND_UNIT = re.compile(r"(\d+(?:\.\d+)?)([a-zA-Z%]*)")
_RATE_KBIT = {"kbit": 1, "mbit": 1000, "gbit": 1_000_000}
_SIZE_BYTES = {
    "": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30,
}  # fmt: skip


def parse_percent(text: str) -> float:
    """``5%``, ``0.1%`` as 5 and 0.1. Raises ValueError that says what is wanted."""
    number, unit = _split(text)
    if unit != "%" or number > 100:
        raise ValueError(f"{text!r} is no share: write 5% or 0.1%, 100% at most")
    return whole(number)


def parse_rate_kbit(text: str) -> int:
    """``500kbit``, ``1mbit``, ``1gbit`` (each per second, as tc writes them) in kbit/s, 1 at least.

    Raises ValueError that says what is wanted.
    """
    number, unit = _split(text)
    kbit = round(number * _RATE_KBIT.get(unit.lower(), 0))
    if not kbit:
        raise ValueError(f"{text!r} is no rate: write 500kbit, 1mbit or 1gbit")
    return kbit


def parse_bytes(text: str) -> int:
    """``4096``, ``10MB`` (10^7), ``10MiB`` (10 · 2^20) in bytes. Raises ValueError that says what is wanted."""
    number, unit = _split(text)
    if number < 0 or unit.lower() not in _SIZE_BYTES:
        raise ValueError(f"{text!r} is no size: write 4096, 64kB, 10MB or 10MiB")
    return round(number * _SIZE_BYTES[unit.lower()])


def parse_bytes_per_sec(text: str) -> int:
    """``1MB/s`` in bytes per second, 1 at least. Raises ValueError that says what is wanted."""
    try:
        rate = parse_bytes(text.removesuffix("/s"))
    except ValueError:
        rate = 0
    if not rate or not text.endswith("/s"):
        raise ValueError(f"{text!r} is no bandwidth: write 64kB/s, 1MB/s or 1MiB/s")
    return rate


def _split(text: str) -> tuple[float, str]:
    """The number and what stands behind it; −1 where the text is neither."""
    found = _NUMBER_AND_UNIT.fullmatch(text)
    return (float(found[1]), found[2]) if found else (-1, "")
