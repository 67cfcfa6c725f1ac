"""Shapes of partitions: pure functions from nodes to the directed links to cut.

The shapes are those of Jepsen's nemesis (``nemesis.clj``: ``complete-grudge``, ``bridge``, ``majorities-ring``), told
as links rather than as who drops whose packets. Nodes are taken in the order given: shuffle them for a random one.
"""

from collections.abc import Iterable, Sequence

from trogdor.spec.network import Link


def parted(groups: Iterable[Sequence[str]], *, to: str | None = None) -> tuple[Link, ...]:
    """No node of one group hears any of another; only the links that arrive at ``to``, if given."""
    groups = [tuple(group) for group in groups]
    return tuple(
        cut(source, target)
        for ours in groups
        for target in ours
        if to in (None, target)
        for theirs in groups
        if theirs is not ours
        for source in theirs
    )


def halves(nodes: Sequence[str]) -> tuple[Link, ...]:
    """The nodes in two groups that do not hear each other; the second is the larger where they are odd in number."""
    middle = len(nodes) // 2
    return parted([nodes[:middle], nodes[middle:]])


def isolated(node: str, nodes: Iterable[str]) -> tuple[Link, ...]:
    """One node neither hears the others nor is heard by them."""
    return parted([[node], [other for other in nodes if other != node]])


def one_way(sources: Iterable[str], targets: Iterable[str]) -> tuple[Link, ...]:
    """The targets do not hear the sources, which still hear them."""
    targets = list(targets)
    return tuple(cut(source, target) for source in sources for target in targets if source != target)


def bridge(nodes: Sequence[str]) -> tuple[Link, ...]:
    """Two halves that do not hear each other, and one node in the middle that hears both and is heard by both."""
    middle = len(nodes) // 2
    return parted([nodes[:middle], nodes[middle + 1 :]])


def majority_ring(nodes: Sequence[str]) -> tuple[Link, ...]:
    """Every node hears a majority, no two the same one: itself and its neighbours on a ring of the nodes."""
    count = len(nodes)
    majority = count // 2 + 1
    links = []
    for at, target in enumerate(nodes):
        heard = {nodes[(at + step - majority // 2) % count] for step in range(majority)}
        links += [cut(source, target) for source in nodes if source not in heard]
    return tuple(links)


def cut(source: str, target: str) -> Link:
    """The whole link from one end to another."""
    return Link(from_=source, to=target)
