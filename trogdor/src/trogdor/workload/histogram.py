"""Counts of whole numbers in buckets of at most 0.02 % width, so that memory does not grow with the samples."""

import struct

EXACT_BITS = 14
"""Values below 2^14 have a bucket each; above, a bucket is 1/8192 of its octave wide (as HdrHistogram's)."""

MAX_VALUE = (1 << 62) - 1


class Histogram:
    """How often each value was seen, and the mean and percentiles of that."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.samples = 0
        self.total = 0

    def record(self, value: int, count: int = 1) -> None:
        """Counts ``value`` ``count`` times. Negative values count as 0."""
        value = min(max(value, 0), MAX_VALUE)
        shift = max(value.bit_length() - EXACT_BITS, 0)
        bucket = value >> shift << shift
        self._counts[bucket] = self._counts.get(bucket, 0) + count
        self.samples += count
        self.total += value * count

    @property
    def mean(self) -> float:
        """The mean of all values; 0 before the first."""
        return self.total / self.samples if self.samples else 0.0

    def percentile(self, fraction: float) -> int:
        """The least value that so large a part of the samples does not exceed; 0 before the first.

        As upstream's Histogram: the value at which the count reaches floor(samples · fraction).
        """
        wanted, seen = int(self.samples * fraction), 0
        counts = self._counts.copy()
        for bucket in sorted(counts):
            seen += counts[bucket]
            if seen >= wanted:
                return bucket
        return 0


def float32(value: float) -> float:
    """``value`` with the digits that a Java float of it shows."""
    packed = struct.pack("f", value)
    (value,) = struct.unpack("f", packed)
    return next(short for digits in range(1, 10) if struct.pack("f", short := float(f"{value:.{digits}g}")) == packed)
