"""Nodes by tags: requests for them, and clusters whose nodes carry them.

    @cluster(cluster_spec=TaggedSpec.of(2, "ssd") + TaggedSpec.of(1))
    def test_something(self): …

Built on ducktape's public classes. A cluster that knows no tags refuses a request with tags, and says which: it sees
them as a ``node_type`` that no node has.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Self

from ducktape.cluster.cluster import Cluster
from ducktape.cluster.cluster_node import ClusterNode
from ducktape.cluster.cluster_spec import ClusterSpec
from ducktape.cluster.consts import LINUX
from ducktape.cluster.node_container import InsufficientResourcesError, NodeContainer
from ducktape.cluster.node_spec import NodeSpec
from ducktape.command_line.defaults import ConsoleDefaults

from trogdor.ducktape.account import make_account


class TaggedNodeSpec(NodeSpec):  # type: ignore[misc]
    """One node that has every one of these tags, and this node_type if any; or, of a cluster, one that is there."""

    def __init__(self, operating_system: str = LINUX, node_type: str | None = None, tags: Iterable[str] = ()) -> None:
        self.tags = frozenset(tags)
        self.wanted_type = node_type
        unknown_elsewhere = f"tags {','.join(sorted(self.tags))}" if self.tags else node_type
        super().__init__(operating_system, unknown_elsewhere)

    def __str__(self) -> str:
        fields = {"os": self.operating_system, "node_type": self.wanted_type, "tags": sorted(self.tags)}
        return json.dumps({key: value for key, value in fields.items() if value}, sort_keys=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NodeSpec) and _wants(self) == _wants(other)

    def __hash__(self) -> int:
        return hash(_wants(self))

    def matches(self, available_node_spec: Any) -> bool:
        """Whether that node is one like this."""
        return _satisfies(available_node_spec, _wants(self))


Wanted = tuple[str, str | None, frozenset[str]]
"""Operating system, node_type (None: any) and tags."""


def _wants(spec: Any) -> Wanted:
    return spec.operating_system, getattr(spec, "wanted_type", spec.node_type), getattr(spec, "tags", frozenset())


def _has(node: Any) -> Wanted:
    """What an account, a ClusterNode or a NodeSpec of a cluster has."""
    described = getattr(node, "account", node)
    node_type = getattr(described, "wanted_type", getattr(described, "node_type", None))
    return described.operating_system, node_type, getattr(described, "tags", frozenset())


def _satisfies(node: Any, wanted: Wanted) -> bool:
    system, node_type, tags = _has(node)
    return system == wanted[0] and wanted[1] in (None, node_type) and tags >= wanted[2]


class TaggedSpec(ClusterSpec):  # type: ignore[misc]
    """A request for nodes, or what nodes a cluster has."""

    def __init__(self, nodes: Iterable[Any] | None = None) -> None:
        self.nodes = TaggedContainer(nodes)

    @classmethod
    def of(cls, num_nodes: int, *tags: str, operating_system: str = LINUX, node_type: str | None = None) -> Self:
        """A request for so many nodes that each have all these tags; requests add up with ``+``."""
        return cls([TaggedNodeSpec(operating_system, node_type, tags)] * num_nodes)

    @classmethod
    def describe(cls, nodes: Iterable[Any]) -> Self:
        """What these accounts or ClusterNodes have."""
        return cls([TaggedNodeSpec(*_has(node)) for node in nodes])

    def __add__(self, other: ClusterSpec) -> Self:
        return self.clone().add(other)  # type: ignore[no-any-return]

    def clone(self) -> Self:
        """A copy."""
        return type(self)(self.nodes)

    def without_node_types(self) -> Self:
        """A copy without node_type (``--ignore-node-type``); tags are kept."""
        return type(self)([TaggedNodeSpec(spec.operating_system, None, _wants(spec)[2]) for spec in self.nodes])


class TaggedContainer(NodeContainer):  # type: ignore[misc]
    """Nodes, out of which requests by tags are met: whenever there is a way to meet all of a request, it is found."""

    def attempt_remove_spec(self, cluster_spec: ClusterSpec | None) -> str:
        """An empty string if the request can be met, else which part of it cannot, and why."""
        if cluster_spec is None:
            return "Invalid or missing cluster spec"
        return match(list(self.elements()), [_wants(spec) for spec in cluster_spec])[1]

    def remove_spec(self, cluster_spec: ClusterSpec) -> tuple[list[Any], list[Any]]:
        """Takes the nodes of a request out; returns them, and no bad ones. Raises InsufficientResourcesError."""
        chosen, problem = match(list(self.elements()), [_wants(spec) for spec in cluster_spec])
        if problem:
            raise InsufficientResourcesError(problem)
        for node in chosen:
            self.remove_node(node)
        return chosen, []

    def clone(self) -> TaggedContainer:
        """A copy."""
        return TaggedContainer(self.elements())


def match(nodes: Sequence[Any], requests: Sequence[Wanted]) -> tuple[list[Any], str]:
    """A node for each request, in their order, and an empty string; or the nodes that some got, and who got none.

    A maximum matching by augmenting paths; nodes with few tags are given away first.
    """
    order = sorted(range(len(nodes)), key=lambda index: (len(_has(nodes[index])[2]), index))
    holder: dict[int, int] = {}

    def find(request: int, seen: set[int]) -> bool:
        for index in order:
            if index in seen or not _satisfies(nodes[index], requests[request]):
                continue
            seen.add(index)
            if index not in holder or find(holder[index], seen):
                holder[index] = request
                return True
        return False

    unmet = [request for request in range(len(requests)) if not find(request, set())]
    given = {request: nodes[index] for index, request in holder.items()}
    return [given[request] for request in sorted(given)], _explain(nodes, requests, unmet)


def _explain(nodes: Sequence[Any], requests: Sequence[Wanted], unmet: Sequence[int]) -> str:
    """Who got none, and how many nodes there are for them."""
    parts = []
    for wanted, missing in Counter(requests[request] for request in unmet).items():
        system, node_type, tags = wanted
        kind = system + (f"/{node_type}" if node_type else "") + (f" [{', '.join(sorted(tags))}]" if tags else "")
        there = sum(_satisfies(node, wanted) for node in nodes)
        asked = requests.count(wanted)
        shared = ", and other requests of the same test need some of them" if there >= asked else ""
        parts.append(f"{kind} nodes requested: {asked}. {kind} nodes available: {there}{shared} ({missing} missing). ")
    return "".join(parts)


class TaggedCluster(Cluster):  # type: ignore[misc]
    """A cluster as JsonCluster's file describes it, whose nodes may carry ``"tags": ["ssd", "rack-a"]``.

        ducktape --cluster trogdor.ducktape.TaggedCluster --cluster-file cluster.json tests/

    Raises ValueError, with every problem, when the file is wrong.
    """

    def __init__(
        self, cluster_json: dict[str, Any] | None = None, *, cluster_file: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__()
        if cluster_json is None:
            with open(os.path.abspath(cluster_file or ConsoleDefaults.CLUSTER_FILE)) as file:
                cluster_json = json.load(file)
        self._free = TaggedContainer(_accounts(cluster_json, kwargs.get("ssh_exception_checks")))
        self._in_use = TaggedContainer()
        self._next_slot = 0

    def do_alloc(self, cluster_spec: ClusterSpec) -> list[Any]:
        """Takes nodes. Raises InsufficientResourcesError, which names the request that cannot be met."""
        accounts, _ = self._free.remove_spec(cluster_spec)
        first, self._next_slot = self._next_slot, self._next_slot + len(accounts)
        nodes = [ClusterNode(account, slot_id=slot) for slot, account in enumerate(accounts, start=first)]
        self._in_use.add_nodes(nodes)
        return nodes

    def free_single(self, node: ClusterNode) -> None:
        """Gives a node back, and closes its connections."""
        self._in_use.remove_node(node)
        self._free.add_node(node.account)
        node.account.close()

    def available(self) -> TaggedSpec:
        """What is free."""
        return TaggedSpec.describe(self._free)

    def used(self) -> TaggedSpec:
        """What is in use."""
        return TaggedSpec.describe(self._in_use)


def _accounts(cluster_json: Any, checks: list[Any] | None) -> list[Any]:
    nodes = cluster_json.get("nodes") if isinstance(cluster_json, dict) else None
    if not isinstance(nodes, list):
        raise ValueError('a cluster file is {"nodes": [{"ssh_config": {…}, "tags": […]}, …]}')
    accounts, problems = [], []
    for index, node in enumerate(nodes):
        try:
            accounts.append(make_account(node, checks))
        except (ValueError, TypeError) as error:
            problems.append(f"nodes[{index}]: {error}")
    if problems:
        raise ValueError("\n".join(problems))
    return accounts


class TaggedSubcluster(Cluster):  # type: ignore[misc]
    """The nodes that a test was given, from which its services can take theirs by tags.

        def __init__(self, test_context):
            test_context.cluster = TaggedSubcluster(test_context.cluster)

    Without it, a service's request with tags is refused, because the cluster that ducktape hands to a test knows none.
    """

    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self._cluster = cluster
        self._in_use: list[Any] = []

    def do_alloc(self, cluster_spec: ClusterSpec) -> list[Any]:
        """Takes nodes. Raises InsufficientResourcesError, which names the request that cannot be met."""
        nodes = self._cluster.alloc(self._cluster.available())
        chosen, problem = match(nodes, [_wants(spec) for spec in cluster_spec])
        self._cluster.free([node for node in nodes if problem or node not in chosen])
        if problem:
            raise InsufficientResourcesError(problem)
        self._in_use += chosen
        return chosen

    def free_single(self, node: ClusterNode) -> None:
        """Gives a node back to the test."""
        self._in_use.remove(node)
        self._cluster.free(node)

    def available(self) -> ClusterSpec:
        """What is free, as ducktape's cluster tells it: without tags."""
        return self._cluster.available()

    def used(self) -> TaggedSpec:
        """What is in use."""
        return TaggedSpec.describe(self._in_use)
