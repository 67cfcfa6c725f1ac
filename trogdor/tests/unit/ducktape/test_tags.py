# ruff: noqa: PT009, PT027
"""Allocation by tags. Run with ducktape's environment by `make test-ducktape`; left out where there is no ducktape."""

import json
import tempfile
import unittest

try:
    from ducktape.cluster.cluster_spec import ClusterSpec
    from ducktape.cluster.finite_subcluster import FiniteSubcluster
    from ducktape.cluster.node_container import InsufficientResourcesError
except ImportError:
    raise unittest.SkipTest("ducktape is not in this environment") from None

from trogdor.ducktape.lab import _described
from trogdor.ducktape.tags import TaggedCluster, TaggedSpec, TaggedSubcluster


def cluster(*nodes: dict) -> TaggedCluster:
    return TaggedCluster(
        {"nodes": [{"ssh_config": {"host": f"n{i}"}, **node} for i, node in enumerate(nodes, 1)]},
        ssh_exception_checks=None,
    )


def names(nodes: list) -> list[str]:
    return sorted(node.name for node in nodes)


SSD, RACK, BOTH, NONE = {"tags": ["ssd"]}, {"tags": ["rack-a"]}, {"tags": ["ssd", "rack-a"]}, {}


class TagsTest(unittest.TestCase):
    def test_a_plain_request_takes_any_nodes_those_without_tags_first(self) -> None:
        self.assertEqual(names(cluster(BOTH, NONE, SSD).alloc(ClusterSpec.simple_linux(2))), ["n2", "n3"])

    def test_every_tag_asked_for_is_there(self) -> None:
        self.assertEqual(names(cluster(SSD, RACK, BOTH).alloc(TaggedSpec.of(1, "ssd", "rack-a"))), ["n3"])

    def test_whatever_can_be_met_is_met_in_whatever_order_it_is_asked_for(self) -> None:
        parts = TaggedSpec.of(1), TaggedSpec.of(1, "ssd"), TaggedSpec.of(1, "rack-a")
        for one, two, three in (parts, parts[::-1]):
            self.assertEqual(len(cluster(BOTH, SSD, SSD).alloc(one + two + three)), 3)

    def test_the_request_that_cannot_be_met_is_named(self) -> None:
        nodes = cluster(SSD, NONE, NONE)
        with self.assertRaisesRegex(InsufficientResourcesError, r"linux \[ssd\] nodes requested: 2.*available: 1"):
            nodes.alloc(TaggedSpec.of(2, "ssd") + TaggedSpec.of(1))
        self.assertEqual(len(nodes.available()), 3)

    def test_node_types_and_operating_systems_match_as_before(self) -> None:
        nodes = cluster({"node_type": "large"}, {"node_type": "small", **SSD})
        self.assertEqual(names(nodes.alloc(ClusterSpec.simple_linux(1, "small"))), ["n2"])
        with self.assertRaisesRegex(InsufficientResourcesError, "linux/small"):
            nodes.alloc(ClusterSpec.simple_linux(1, "small"))

    def test_freed_nodes_keep_their_tags(self) -> None:
        nodes = cluster(SSD, NONE)
        taken = nodes.alloc(TaggedSpec.of(1, "ssd"))
        self.assertFalse(nodes.available().nodes.can_remove_spec(TaggedSpec.of(1, "ssd")))
        self.assertTrue(nodes.all().nodes.can_remove_spec(TaggedSpec.of(1, "ssd")))
        nodes.free(taken)
        self.assertEqual(names(nodes.alloc(TaggedSpec.of(1, "ssd"))), ["n1"])

    def test_a_service_in_a_test_takes_its_nodes_by_tags(self) -> None:
        subcluster = FiniteSubcluster(cluster(SSD, RACK, NONE).alloc(TaggedSpec.of(3)))
        with self.assertRaisesRegex(InsufficientResourcesError, "ssd"):
            subcluster.alloc(TaggedSpec.of(1, "ssd"))
        tagged = TaggedSubcluster(subcluster)
        taken = tagged.alloc(TaggedSpec.of(1, "rack-a"))
        self.assertEqual(names(taken), ["n2"])
        self.assertEqual(names(tagged.alloc(ClusterSpec.simple_linux(2))), ["n1", "n3"])
        tagged.free(taken)
        self.assertEqual(len(subcluster.available()), 1)

    def test_every_problem_of_a_file_is_told(self) -> None:
        with self.assertRaisesRegex(ValueError, r"(?s)nodes\[0\].*tags.*nodes\[1\].*windows"):
            cluster({"tags": "ssd"}, {"os": "windows"})

    def test_a_lab_is_described_by_a_number_or_by_its_nodes(self) -> None:
        for text, count in (('{"nodes": 2}', 2), ('{"nodes": [{"tags": ["ssd"]}]}', 1)):
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(text)
                file.flush()
                self.assertEqual(len(_described(file.name)), count)
        with tempfile.NamedTemporaryFile("w") as file:
            json.dump({"nodes": [{"ssh_config": {}}]}, file)
            file.flush()
            self.assertRaises(ValueError, _described, file.name)
