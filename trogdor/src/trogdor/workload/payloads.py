"""Keys and values: from a payload's description to its bytes, the same as upstream's for the same seed and position."""

import base64
import time
from collections.abc import Callable
from functools import partial, singledispatch
from itertools import accumulate
from typing import Any

from trogdor.spec import generators as g
from trogdor.workload.columns import Bytes, Column, Counting, column, repeated
from trogdor.workload.java_random import JavaRandom

MAX_PAYLOAD_BYTES = 1 << 26

Generate = Callable[[int], Bytes]
"""``generate(position)``: the payload at a position. Stateful where upstream's is; call it from one thread."""

TIMESTAMP_BYTES = LONG_BYTES = 8


class PayloadError(ValueError):
    """A payload description that upstream would refuse too; the message is upstream's."""


@singledispatch
def generator(payload: Any) -> Generate:
    """The function that makes this payload's bytes. Raises PayloadError when its description contradicts itself."""
    raise TypeError(type(payload).__name__)


def _size(size: int) -> int:
    if not 0 <= size <= MAX_PAYLOAD_BYTES:
        raise PayloadError(f"a size from 0 to {MAX_PAYLOAD_BYTES} bytes is wanted, not {size}")
    return size


def _timestamp() -> bytes:
    return (time.time_ns() // 1_000_000).to_bytes(TIMESTAMP_BYTES, "little")


@generator.register
def _constant(payload: g.ConstantPayload) -> Generate:
    size = _size(payload.size)
    value = base64.b64decode(payload.value) or bytes(max(size, 1))
    whole = (value * (size // len(value) + 1))[:size]
    return lambda position: whole


@generator.register
def _sequential(payload: g.SequentialPayload) -> Generate:
    size, start = _size(payload.size), payload.start_offset
    kept = min(size, LONG_BYTES)
    wrap = (1 << 8 * kept) - 1
    padding = bytes(size - kept)
    if not padding:
        return lambda position: (position + start & wrap).to_bytes(kept, "little")
    return lambda position: (position + start & wrap).to_bytes(kept, "little") + padding


@generator.register
def _uniform_random(payload: g.UniformRandomPayload) -> Generate:
    size, padding = _size(payload.size), payload.padding
    if not 0 <= padding <= size:
        raise PayloadError(
            f"Invalid value {padding} for padding: the number of padding bytes must not be smaller than 0 or greater "
            "than the total payload size."
        )
    random, seed = JavaRandom(payload.seed), payload.seed
    pad = random.next_bytes(padding)

    def generate(position: int) -> bytes:
        random.set_seed(seed + position)
        return random.next_bytes(size - padding) + pad

    return generate


@generator.register
def _null(payload: g.NullPayload) -> Generate:
    return lambda position: None


@generator.register
def _random_component(payload: g.RandomComponentPayload) -> Generate:
    if not payload.components:
        raise PayloadError("Components must be a specified, non-empty list of RandomComponents.")
    percents = [component.percent for component in payload.components]
    if min(percents) < 1:
        raise PayloadError("Percent value must be greater than zero.")
    if sum(percents) != 100:
        raise PayloadError("Components must be a list of RandomComponents such that the percent fields sum to 100")
    choices = list(zip(accumulate(percents), (generator(part.component) for part in payload.components), strict=True))
    random, seed = JavaRandom(0), payload.seed

    def generate(position: int) -> Bytes:
        random.set_seed(seed + position)
        drawn = random.next_int(100)
        return next(chosen for below, chosen in choices if below > drawn)(position)

    return generate


def _stamped(size: int) -> int:
    if _size(size) < TIMESTAMP_BYTES:
        raise PayloadError(f"The size of the payload must be greater than or equal to {TIMESTAMP_BYTES}.")
    return size - TIMESTAMP_BYTES


@generator.register
def _timestamp_constant(payload: g.TimestampConstantPayload) -> Generate:
    rest = bytes(_stamped(payload.size))
    return lambda position: _timestamp() + rest


@generator.register
def _timestamp_random(payload: g.TimestampRandomPayload) -> Generate:
    rest, random, seed = _stamped(payload.size), JavaRandom(0), payload.seed

    def generate(position: int) -> bytes:
        random.set_seed(seed + position)
        drawn = random.next_bytes(rest)
        return _timestamp() + drawn

    return generate


Gaussian = g.GaussianTimestampConstantPayload | g.GaussianTimestampRandomPayload


def _gaussian(payload: Gaussian, fill: Callable[[JavaRandom, int], bytes]) -> Generate:
    """Sizes are drawn anew every ``messagesUntilSizeChange`` messages, never below the timestamp's."""
    random = JavaRandom(0)
    size = used = 0

    def generate(position: int) -> bytes:
        nonlocal size, used
        random.set_seed(payload.seed + position)
        if size == 0 or used >= payload.messages_until_size_change:
            drawn = int(random.next_gaussian() * payload.message_size_deviation) + payload.message_size_average
            size, used = min(max(drawn, TIMESTAMP_BYTES), MAX_PAYLOAD_BYTES), 0
        used += 1
        return _timestamp() + fill(random, size)[TIMESTAMP_BYTES:]

    return generate


@generator.register
def _gaussian_constant(payload: g.GaussianTimestampConstantPayload) -> Generate:
    return _gaussian(payload, lambda random, size: bytes(size))


@generator.register
def _gaussian_random(payload: g.GaussianTimestampRandomPayload) -> Generate:
    return _gaussian(payload, JavaRandom.next_bytes)


def batches(payload: g.Payload) -> Callable[[int, int], Column]:
    """``batch(position, count)``: the payloads at ``count`` positions, as ``generator`` gives them one by one.

    A batch is good until the next one is asked for.
    """
    generate = generator(payload)
    if isinstance(payload, g.ConstantPayload | g.NullPayload):
        return partial(_repeated_batch, generate(0))
    if isinstance(payload, g.SequentialPayload) and 0 < payload.size <= LONG_BYTES:
        return partial(_sequential_batch, generate, payload.start_offset, Counting(payload.size))
    return partial(_batch, generate)


def _batch(generate: Generate, position: int, count: int) -> Column:
    return column([generate(at) for at in range(position, position + count)])


def _repeated_batch(whole: Bytes, position: int, count: int) -> Column:
    return repeated(whole, count)


def _sequential_batch(generate: Generate, start: int, counting: Counting, position: int, count: int) -> Column:
    first = position + start
    if first < 0 or first + count > 1 << 64:
        return _batch(generate, position, count)
    return counting.column(first, count)
