"""Nodes by tags, on a lab whose cluster file gives some of them: run by ducktape, as `make test-ducktape` calls it."""

from typing import Any

from ducktape.cluster.node_container import InsufficientResourcesError
from ducktape.mark.resource import cluster
from ducktape.services.service import Service
from ducktape.tests.test import Test

from trogdor.ducktape.tags import TaggedSpec, TaggedSubcluster

RACKS = TaggedSpec.of(1, "ssd", "rack-a") + TaggedSpec.of(1, "rack-b")


class TagsTest(Test):  # type: ignore[misc]
    """Three nodes, of which two are asked for by tags."""

    def __init__(self, test_context: Any) -> None:
        test_context.cluster = TaggedSubcluster(test_context.cluster)
        super().__init__(test_context)

    @cluster(cluster_spec=RACKS + TaggedSpec.of(1))
    def test_services_take_the_nodes_that_they_ask_for_by_tags(self) -> None:
        other = Service(self.test_context, cluster_spec=TaggedSpec.of(1, "rack-b")).nodes
        disk = Service(self.test_context, cluster_spec=TaggedSpec.of(1, "ssd", "rack-a")).nodes
        assert [sorted(node.account.tags) for node in (*other, *disk)] == [["rack-b"], ["rack-a", "ssd"]]
        assert all(node.account.ssh_output("hostname").decode().strip() == node.name for node in (*other, *disk))
        problem = ""
        try:
            Service(self.test_context, cluster_spec=TaggedSpec.of(1, "ssd"))
        except InsufficientResourcesError as error:
            problem = str(error)
        assert problem.startswith("linux [ssd] nodes requested: 1. linux [ssd] nodes available: 0"), problem
