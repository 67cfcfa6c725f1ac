"""Topic patterns stand for the topics and partitions that upstream makes of them."""

import pytest

from trogdor.spec.generators import PartitionsSpec
from trogdor.workload.producing import in_turn
from trogdor.workload.topics import TopicError, active_partitions, expand, materialize, subscriptions


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("foo", ["foo"]),
        ("foo[1-3]", ["foo1", "foo2", "foo3"]),
        ("a[9-11]b", ["a9b", "a10b", "a11b"]),
        ("x[0-1]y[2-3]", ["x0y2", "x0y3", "x1y2", "x1y3"]),
        ("foo[1,3]", ["foo[1,3]"]),
    ],
)
def test_a_range_expands_in_order(pattern: str, names: list[str]) -> None:
    assert expand(pattern) == names


@pytest.mark.parametrize("pattern", ["foo[3-1]", "foo[0-99999999999]", "x[0-999]y[0-999]"])
def test_a_range_that_stands_for_nothing_or_too_much_is_refused(pattern: str) -> None:
    with pytest.raises(TopicError):
        expand(pattern)


def test_partitions_of_every_topic_are_active_one_unless_told() -> None:
    topics = materialize({"a[1-2]": PartitionsSpec(num_partitions=2), "b": PartitionsSpec(), "c": assigned({3: (1,)})})
    assert active_partitions(topics) == [("a1", 0), ("a1", 1), ("a2", 0), ("a2", 1), ("b", 0), ("c", 3)]


def assigned(assignments: dict[int, tuple[int, ...]]) -> PartitionsSpec:
    return PartitionsSpec(partition_assignments=assignments)


def test_subscriptions_name_topics_or_partitions_of_them() -> None:
    wanted = subscriptions(["foo[1-2]", "bar:2", "baz[1-2]:[1-2]"])
    assert wanted == {"foo1": [], "foo2": [], "bar": [2], "baz1": [1, 2], "baz2": [1, 2]}


@pytest.mark.parametrize("pattern", ["foo:1:2", ":1", "foo:x", ""])
def test_a_subscription_that_is_no_topic_is_refused_in_upstreams_words(pattern: str) -> None:
    with pytest.raises(TopicError, match="Expanded topic name"):
        subscriptions([pattern])


@pytest.mark.parametrize(("position", "count"), [(0, 10), (2, 10), (5, 1), (7, 3)])
def test_messages_go_to_all_active_partitions_in_turn(position: int, count: int) -> None:
    active = [("a", 0), ("a", 1), ("b", 0)]
    messages = range(position, position + count)
    went = {
        message: (topic, partition)
        for topic, partition, part in in_turn(active, position, count)
        for message in messages[part]
    }
    assert went == {message: active[message % 3] for message in messages}
