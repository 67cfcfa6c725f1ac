"""What can be asked for: the base of all specs, and the one registry of their ``class`` names."""

import importlib
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from trogdor.spec.jackson import Long
from trogdor.topology import Topology

log = logging.getLogger(__name__)

MAX_DURATION_MS = 10**15
"""Upstream's clamp of ``durationMs`` (TaskSpec.MAX_TASK_DURATION_MS)."""

UPSTREAM = "org.apache.kafka.trogdor."

FAMILIES = ("task", "process", "network", "files", "workload", "kafka", "schedule", "composite")
"""Our own modules of specs, in the order in which a class is looked for."""


class SpecError(Exception):
    """A spec that cannot be carried out as asked; the message is what the user reads."""


class UnknownSpecClass(SpecError):
    """No spec of this ``class`` is registered."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no spec of class {name!r} is known: `trogdor spec list` shows those that are")
        self.name = name


class Document(BaseModel):
    """JSON with upstream's camelCase names; unknown fields are an error; what is empty is left out when written."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, populate_by_name=True, defer_build=True
    )

    keeps_empty: ClassVar[frozenset[str]] = frozenset()
    """Fields that are written even when empty, as upstream's are where their type is no collection."""

    def to_json(self) -> dict[str, Any]:
        """The JSON of this document, keys in the order of the fields, empty values left out (Jackson's NON_EMPTY)."""
        return dict(self._written())

    def _written(self) -> Iterator[tuple[str, Any]]:
        for name, written in _names_in(type(self)):
            value = _to_json(getattr(self, name))
            if name in self.keeps_empty or not (value is None or value in ("", [], {})):
                yield written, value


@cache
def _names_in(document: type[Document]) -> tuple[tuple[str, str], ...]:
    """The fields by their names here and in JSON."""
    return tuple((name, field.alias or name) for name, field in document.model_fields.items())


def _to_json(value: Any) -> Any:
    if isinstance(value, str | int | float):  # most are; what follows asks more of the interpreter
        return value
    if isinstance(value, Document):
        return value.to_json()
    if isinstance(value, dict):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    return value


class Spec(Document):
    """What is asked for: pure, platform independent, JSON in and out.

    A subclass names its ``class`` where it is defined and is found by that name from then on::

        class NoOpTaskSpec(Spec, name="org.apache.kafka.trogdor.task.NoOpTaskSpec"):
            "Does nothing, on every node."
    """

    class_name: ClassVar[str] = ""
    example: ClassVar[dict[str, Any]] = {}
    """The fields of a spec worth showing, beside ``class``, ``startMs`` and ``durationMs``."""
    is_composite: ClassVar[bool] = False
    """Whether it is made of other specs (``trogdor.compose.expand``)."""
    lists_others: ClassVar[bool] = False
    """Whether it is a schedule or sequence of others: no part of another one, or their numbers would multiply."""

    start_ms: Long = Field(0, description="When to start, in ms since the epoch by the coordinator's clock; 0: now.")
    duration_ms: Annotated[Long, AfterValidator(lambda ms: min(max(ms, 0), MAX_DURATION_MS))] = Field(
        0, description="How long, in ms; clamped to 0 … 10^15."
    )

    def __init_subclass__(cls, name: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(cls, name: str = "", **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if name:
            cls.class_name = name
            REGISTRY.add(cls)

    def to_json(self) -> dict[str, Any]:
        return {"class": self.class_name, **dict(self._written())}

    def target_nodes(self, topology: Topology) -> list[str]:
        """The nodes whose agents are to carry this out, sorted. Raises SpecError where there are none."""
        raise NotImplementedError(type(self).__name__)

    def check(self, topology: Topology) -> None:
        """Raises SpecError when the spec contradicts itself or the topology. Called before anything is made of it."""

    def programs(self) -> dict[str, str]:
        """The programs that the coordinator is to run for this, by the path of the field that names them."""
        return {}

    def commands(self) -> dict[str, str]:
        """The programs that agents are to run for this, by the path of the field that names them."""
        return {}

    def seen_from(self, topology: Topology) -> Collection[str]:
        """The nodes whose agents send what a probe of this looks for; all, where a class does not say."""
        return topology.agents()

    def classes(self) -> set[str]:
        """The classes that agents have to know: its own, or those of the specs that it carries."""
        return {self.class_name}

    @property
    def is_upstream(self) -> bool:
        """Whether a Java Trogdor knows this class."""
        return self.class_name.startswith(UPSTREAM)

    def at(self, start_ms: int) -> Self:
        """The same spec, started at ``start_ms``."""
        return self.model_copy(update={"start_ms": start_ms})

    @property
    def end_ms(self) -> int:
        """When it ends, in ms since the epoch."""
        return self.start_ms + self.duration_ms


class Registry:
    """Every spec class by its ``class`` name; a last word alone is found too. Nothing is ever imported by name.

    A name that is not known yet is looked for in one of our families after the other, then in the modules that users'
    packages name as entry points of the group ``trogdor.specs``. When all specs are asked for, all are imported.
    """

    def __init__(self) -> None:
        self._loading = threading.RLock()
        self._unloaded: list[Callable[[], object]] = [
            *(partial(importlib.import_module, f"trogdor.spec.{family}") for family in FAMILIES),
            _load_others,
        ]
        self._by_name: dict[str, type[Spec]] = {}
        self._by_last_word: dict[str, type[Spec]] = {}

    def add(self, spec: type[Spec]) -> None:
        """Registers a spec class. Raises ValueError when its name or its last word is taken by another."""
        last_word = spec.class_name.rpartition(".")[2]
        for names, name in ((self._by_name, spec.class_name), (self._by_last_word, last_word)):
            taken = names.setdefault(name, spec)
            if taken.__qualname__ != spec.__qualname__ or taken.__module__ != spec.__module__:
                raise ValueError(f"{spec.__module__}.{spec.__qualname__}: {name!r} is {taken.__qualname__}'s already")
            names[name] = spec

    def find(self, name: str) -> type[Spec]:
        """The class registered under a full name or its last word. Raises UnknownSpecClass."""
        found = self._known(name)
        if found is None:
            with self._loading:
                while (found := self._known(name)) is None and self._unloaded:
                    self._unloaded.pop(0)()
        if found is None:
            raise UnknownSpecClass(name)
        return found

    def _known(self, name: str) -> type[Spec] | None:
        return self._by_name.get(name) or self._by_last_word.get(name)

    def __iter__(self) -> Iterator[type[Spec]]:
        with self._loading:
            while self._unloaded:
                self._unloaded.pop(0)()
        return iter(sorted(self._by_name.values(), key=lambda spec: spec.class_name))


def _load_others() -> None:
    from importlib import metadata

    for point in metadata.entry_points(group="trogdor.specs"):
        try:
            point.load()
        except Exception:  # whatever a stranger's package raises, ours are still there
            log.exception("the specs of %s (%s) cannot be loaded", point.name, point.value)


REGISTRY = Registry()


def classes_of(templates: Iterable[Mapping[str, Any]]) -> set[str]:
    """The classes that agents have to know for these specs in JSON; composites are expanded before they are told."""
    found = {REGISTRY.find(str(template["class"])) for template in templates}
    return {spec.class_name for spec in found if not spec.is_composite}


def require_known(names: list[str], topology: Topology) -> list[str]:
    """``names``, sorted and without repeats. Raises SpecError in upstream's words when one is no node."""
    unknown = sorted({name for name in names if name not in topology.nodes})
    if unknown:
        raise SpecError(f"Unknown node names: {', '.join(unknown)}")
    if not names:
        raise SpecError("No node names specified.")
    return sorted(set(names))
