"""Keys or values of many messages as C has them: where in memory each begins, and how many bytes it has."""

import ctypes
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from struct import Struct

Bytes = bytes | None

WORD_BYTES = 8

MEMORY = memoryview((ctypes.c_uint64 * (1 << 45)).from_address(0)).cast("B").cast("Q")
"""The memory of this process, 2^48 bytes, in words: what an address points at is ``MEMORY[address // WORD_BYTES]``."""

_BYTES = MEMORY.cast("B")


class Column:
    """Payloads in memory that ``kept`` owns, an address and a length each; the address 0 stands for null."""

    def __init__(self, addresses: "array[int]", lengths: "array[int]", kept: object) -> None:
        self.addresses, self.lengths, self._kept = addresses, lengths, kept

    def __len__(self) -> int:
        return len(self.addresses)

    def __getitem__(self, part: slice) -> "Column":
        return Column(self.addresses[part], self.lengths[part], self._kept)

    def __iter__(self) -> Iterator[Bytes]:
        for address, length in zip(self.addresses, self.lengths, strict=True):
            yield ctypes.string_at(address, length) if address else None

    def numbers(self, form: Struct, *, alone: bool = False) -> list[int]:
        """The number that each begins with, in this form, and with ``alone`` ends with; who has none is left out."""
        read, size = form.unpack_from, form.size
        addressed = zip(self.addresses, self.lengths, strict=True)
        if alone:
            return [read(_BYTES, address)[0] for address, length in addressed if length == size]
        return [read(_BYTES, address)[0] for address, length in addressed if length >= size]


def column(payloads: Sequence[Bytes]) -> Column:
    """A column of these payloads."""
    lengths = array("Q", [len(payload or b"") for payload in payloads])
    joined = b"".join([payload or b"" for payload in payloads])
    addresses = array("Q", accumulate(lengths, initial=_address(joined)))[:-1]
    for at, payload in enumerate(payloads):
        if payload is None:
            addresses[at] = 0
    return Column(addresses, lengths, joined)


def repeated(payload: Bytes, count: int) -> Column:
    """The same payload, so many times."""
    address, length = (0, 0) if payload is None else (_address(payload), len(payload))
    return Column(array("Q", [address]) * count, array("Q", [length]) * count, payload)


def _address(payload: bytes) -> int:
    return ctypes.cast(ctypes.c_char_p(payload), ctypes.c_void_p).value or 0


class Counting:
    """Consecutive numbers, least significant byte first, cut to ``size`` bytes of at most 8.

    Its columns share one buffer: each is good until the next is asked for.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._numbers: array[int] = array("Q")
        self._whole = column([])

    def column(self, first: int, count: int) -> Column:
        """The numbers from ``first`` on, which all fit 64 bits."""
        if count > len(self._numbers):
            self._numbers = array("Q", bytes(WORD_BYTES * count))
            start, _ = self._numbers.buffer_info()
            addresses = array("Q", range(start, start + WORD_BYTES * count, WORD_BYTES))
            self._whole = Column(addresses, array("Q", [self._size]) * count, self._numbers)
        self._numbers[:count] = array("Q", range(first, first + count))
        return self._whole if count == len(self._whole) else self._whole[:count]
