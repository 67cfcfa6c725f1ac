"""Specs with places for nodes: ``$nodes``, ``$others``, ``$node``, ``$other``.

``$nodes`` is the list of the nodes drawn, ``$others`` the list of all others that are not excluded. As the key of an
object, ``$nodes`` stands for one entry a node. ``$node`` and ``$other`` are one of them: a list's item in which they
occur is repeated for each, outside of a list the first is meant. Within the ``spec`` of a TargetSpec they stand for the
nodes that it will find, and are left alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

LISTS = frozenset({"$nodes", "$others"})
ONES = frozenset({"$node", "$other"})


@dataclass(frozen=True)
class Names:
    """What the words stand for."""

    nodes: Sequence[str]
    others: Sequence[str]
    node: str | None = None
    """The one node that ``$node`` is, within a list's item that is repeated; None: the first."""
    other: str | None = None

    def stand_for(self, word: str) -> Any:
        """The value of a word; a word without any node to stand for stays as it is."""
        if word in LISTS:
            return list(self.nodes if word == "$nodes" else self.others)
        one, many = (self.node, self.nodes) if word == "$node" else (self.other, self.others)
        return one if one is not None else many[0] if many else word


Fill = Callable[[Names], Any]


def fill(template: Any, nodes: Sequence[str], others: Sequence[str]) -> Any:
    """The template with these nodes in their places.

    >>> fill({"partitions": ["$nodes", "$others"]}, ["n1"], ["n2", "n3"])
    {'partitions': [['n1'], ['n2', 'n3']]}
    >>> fill([{"from": "$node", "to": "$other"}], ["n1"], ["n2", "n3"])
    [{'from': 'n1', 'to': 'n2'}, {'from': 'n1', 'to': 'n3'}]
    """
    return compiled(template)(Names(nodes, others))


def compiled(template: Any) -> Fill:
    """The template as a function, for filling it many times. What has no place for nodes is shared, not copied."""
    if not words_of(template):
        return _as_it_is(template)
    if isinstance(template, str):
        return lambda names: names.stand_for(template)
    if isinstance(template, dict):
        kept = _kept_by(template)
        entries = [(key, _as_it_is(value) if key == kept else compiled(value)) for key, value in template.items()]
        return lambda names: {key: value for entry in entries for key, value in _entries(*entry, names)}
    items = [(compiled(item), words_of(item)) for item in template]
    return lambda names: [item for each in items for item in _items(*each, names)]


def words_of(template: Any) -> frozenset[str]:
    """The words that occur in a template."""
    if isinstance(template, str):
        return frozenset({template}) & (LISTS | ONES)
    if isinstance(template, dict):
        keys, kept = {"$nodes"} & template.keys(), _kept_by(template)
        return frozenset(keys).union(*(words_of(value) for key, value in template.items() if key != kept))
    return frozenset[str]().union(*map(words_of, template)) if isinstance(template, list | tuple) else frozenset()


def _as_it_is(template: Any) -> Fill:
    return lambda names: template


def _kept_by(template: dict[str, Any]) -> str | None:
    """The key of what is a template of this part's own."""
    return "spec" if str(template.get("class")).rpartition(".")[2] == "TargetSpec" else None


def _entries(key: str, value: Fill, names: Names) -> Iterator[tuple[str, Any]]:
    if key == "$nodes":
        for node in names.nodes:
            yield node, value(replace(names, node=node))
    else:
        yield key, value(names)


def _items(item: Fill, words: frozenset[str], names: Names) -> Iterator[Any]:
    repeated = words & ONES if names.node is None and names.other is None else frozenset()
    if not repeated or words <= LISTS:
        yield item(names)
        return
    for node in names.nodes if "$node" in repeated else [None]:
        for other in names.others if "$other" in repeated else [None]:
            yield item(replace(names, node=node, other=other))
