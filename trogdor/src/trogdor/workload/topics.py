"""Topic patterns: ``foo[1-3]`` for foo1, foo2, foo3, and ``foo[1-3]:[0-2]`` for partitions of them."""

import re
from collections.abc import Iterable, Mapping

from trogdor.spec.generators import PartitionsSpec

MAX_NAMES = 100_000
DEFAULT_PARTITIONS = 1
DEFAULT_REPLICATION = 3

_RANGE = re.compile(r"\[([0-9]+)-([0-9]+)\]")
_SUBSCRIPTION = re.compile(r"[^:]+(:[0-9]+)?")


class TopicError(ValueError):
    """A pattern that stands for no topics."""


def expand(pattern: str) -> list[str]:
    """The names a pattern stands for, every range in it expanded, in order. Raises TopicError."""
    names = [""]
    rest = 0
    for match in _RANGE.finditer(pattern):
        first, last = int(match[1]), int(match[2])
        if last < first:
            raise TopicError(f"Invalid range: start {first} is higher than end {last}")
        if len(names) * (last - first + 1) > MAX_NAMES:
            raise TopicError(f"{pattern} stands for more than {MAX_NAMES} names")
        before = pattern[rest : match.start()]
        names = [f"{name}{before}{number}" for name in names for number in range(first, last + 1)]
        rest = match.end()
    return [name + pattern[rest:] for name in names]


def materialize(topics: Mapping[str, PartitionsSpec]) -> dict[str, PartitionsSpec]:
    """Every topic by name, patterns expanded. Raises TopicError."""
    return {name: partitions for pattern, partitions in topics.items() for name in expand(pattern)}


def partition_numbers(partitions: PartitionsSpec) -> list[int]:
    """The partitions that a topic of this description has."""
    if partitions.partition_assignments:
        return sorted(partitions.partition_assignments)
    return list(range(partitions.num_partitions if partitions.num_partitions > 0 else DEFAULT_PARTITIONS))


def active_partitions(topics: Mapping[str, PartitionsSpec]) -> list[tuple[str, int]]:
    """Topic and number of every partition, in the order in which producers go through them."""
    return [(name, number) for name, partitions in topics.items() for number in partition_numbers(partitions)]


def subscriptions(patterns: Iterable[str]) -> dict[str, list[int]]:
    """Topic → the partitions named with it (``foo:1``); none named: an empty list. Raises TopicError."""
    wanted: dict[str, list[int]] = {}
    for pattern in patterns:
        for name in expand(pattern):
            if not _SUBSCRIPTION.fullmatch(name):
                raise TopicError(f"Expanded topic name {pattern} is invalid")
            topic, _, partition = name.partition(":")
            wanted.setdefault(topic, []).extend([int(partition)] if partition else [])
    return wanted
