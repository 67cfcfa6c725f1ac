"""``java.util.Random``, so that payloads are the same bytes as upstream's for the same seed.

Source of each method: the algorithms that the documentation of ``java.util.Random`` prescribes for all Java versions.
"""

import math
from functools import cache

MULTIPLIER, INCREMENT, MASK = 0x5DEECE66D, 0xB, (1 << 48) - 1
_SLOT_BYTES = 16


@cache
def _affine(steps: int) -> tuple[int, int]:
    """Multiplier and increment of the next ``steps`` states, one in each slot of 16 bytes.

    The k-th state after s is (a_k·s + c_k) mod 2^48. A product of two 48-bit numbers fits its slot, so one
    multiplication of large integers steps the generator ``steps`` times.
    """
    multipliers = increments = 0
    a, c = 1, 0
    for step in range(steps):
        a, c = a * MULTIPLIER & MASK, (c * MULTIPLIER + INCREMENT) & MASK
        multipliers |= a << (8 * _SLOT_BYTES * step)
        increments |= c << (8 * _SLOT_BYTES * step)
    return multipliers, increments


class JavaRandom:
    """A generator in the state of ``new java.util.Random(seed)``."""

    def __init__(self, seed: int) -> None:
        self.set_seed(seed)

    def set_seed(self, seed: int) -> None:
        """Begins anew, as ``Random.setSeed``; ``seed`` wraps as a Java long does."""
        self._state = (seed ^ MULTIPLIER) & MASK
        self._next_gaussian: float | None = None

    def _next(self, bits: int) -> int:
        self._state = (self._state * MULTIPLIER + INCREMENT) & MASK
        return self._state >> (48 - bits)

    def next_bytes(self, size: int) -> bytes:
        """``size`` bytes: each 32-bit number of the sequence as four bytes, least significant first."""
        steps = (size + 3) // 4
        if steps == 0:
            return b""
        multipliers, increments = _affine(steps)
        slots = self._state * multipliers + increments
        self._state = (slots >> (8 * _SLOT_BYTES * (steps - 1))) & MASK
        words = memoryview((slots >> 16).to_bytes(_SLOT_BYTES * steps, "little")).cast("I")
        return words[:: _SLOT_BYTES // 4].tobytes()[:size]

    def next_int(self, bound: int) -> int:
        """A number from 0 to ``bound`` - 1. Raises ValueError when ``bound`` is not positive."""
        if bound <= 0:
            raise ValueError("bound must be positive")
        drawn = self._next(31)
        if bound & (bound - 1) == 0:
            return bound * drawn >> 31
        while drawn - drawn % bound + (bound - 1) >= 1 << 31:
            drawn = self._next(31)
        return drawn % bound

    def _next_double(self) -> float:
        return ((self._next(26) << 27) + self._next(27)) * 2.0**-53

    def next_gaussian(self) -> float:
        """A number of mean 0 and deviation 1, by the polar method; every second one is the pair's other half."""
        if self._next_gaussian is not None:
            value, self._next_gaussian = self._next_gaussian, None
            return value
        while True:
            x, y = 2 * self._next_double() - 1, 2 * self._next_double() - 1
            square = x * x + y * y
            if 0 < square < 1:
                break
        scale = math.sqrt(-2 * math.log(square) / square)
        self._next_gaussian = y * scale
        return x * scale
