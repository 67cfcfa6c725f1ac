"""Shapes of partitions: pure functions from node names to what is cut. The names are Jepsen's (nemesis.clj).

A grouping is lists of nodes; nodes of different lists cannot reach each other, and a node in no list reaches all.
"""

from collections.abc import Sequence

Groups = list[list[str]]
Pair = tuple[str, str]


def halves(nodes: Sequence[str]) -> Groups:
    """Two groups, in the order given; of an odd number the second group is the majority. Raises ValueError."""
    _need(nodes, 2, "halves")
    middle = len(nodes) // 2
    return [list(nodes[:middle]), list(nodes[middle:])]


def isolate(node: str, nodes: Sequence[str]) -> Groups:
    """One node against all others. Raises ValueError when there are none."""
    others = [name for name in nodes if name != node]
    _need([node, *others], 2, "isolate")
    return [[node], others]


def bridge(nodes: Sequence[str]) -> Groups:
    """Two groups that cannot reach each other, and a node between them, in neither, that reaches both.

    The bridge is the middle one of ``nodes``. Raises ValueError for fewer than three.
    """
    _need(nodes, 3, "bridge")
    middle = len(nodes) // 2
    return [list(nodes[:middle]), list(nodes[middle + 1 :])]


def ring(nodes: Sequence[str]) -> list[Pair]:
    """The directed links to cut so that each node still reaches a majority, and no two reach the same one.

    The nodes stand in a circle, and each keeps its neighbours. Raises ValueError for fewer than four.
    """
    _need(nodes, 4, "ring")
    count = len(nodes)
    reach = (count // 2 + 1) // 2
    return [
        (source, target)
        for at, source in enumerate(nodes)
        for to, target in enumerate(nodes)
        if min((at - to) % count, (to - at) % count) > reach
    ]


def between(groups: Groups, *, one_way: bool = False) -> list[Pair]:
    """Every directed link from a node of one group to one of another; one way: from each group to later ones only."""
    return [
        (source, target)
        for at, sources in enumerate(groups)
        for to, targets in enumerate(groups)
        if (at < to if one_way else at != to)
        for source in sources
        for target in targets
    ]


def _need(nodes: Sequence[str], least: int, shape: str) -> None:
    if len(nodes) < least:
        raise ValueError(f"{shape} needs at least {least} nodes, not {len(nodes)}: {' '.join(nodes) or 'none'}")
    repeated = sorted({name for name in nodes if nodes.count(name) > 1})
    if repeated:
        raise ValueError(f"{', '.join(repeated)}: named more than once")
