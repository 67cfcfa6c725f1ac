"""Composites: one task that is made of others, in a row or on nodes that are found out just before."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import Field, StrictInt, StrictStr

from trogdor.spec.base import MAX_DURATION_MS, REGISTRY, Document, Spec, SpecError, classes_of
from trogdor.spec.schedule import MAX_TASKS, Template, spec_problems
from trogdor.spec.template import fill
from trogdor.topology import Topology

MAX_STEPS = 10_000
MAX_REPEAT = 100_000


class Step(Document):
    """One task of a sequence."""

    offset_ms: Annotated[StrictInt, Field(ge=0, le=MAX_DURATION_MS)] = Field(0, description="After its round's start.")
    duration_ms: Annotated[StrictInt, Field(ge=0, le=MAX_DURATION_MS)] = Field(0, description="How long.")
    spec: Template = Field(description="Any spec, without its times.")


class SequenceSpec(Spec, name="trogdor.schedule.SequenceSpec"):
    """Tasks at offsets from a common start, once or in rounds; ``durationMs``, if not 0, ends it early."""

    example: ClassVar[dict[str, Any]] = {
        "steps": [
            {"durationMs": 5000, "spec": {"class": "NetworkPartitionFaultSpec", "partitions": [["n1"], ["n2", "n3"]]}},
            {"offsetMs": 8000, "durationMs": 1000,
             "spec": {"class": "ProcessPauseFaultSpec", "nodeNames": ["n2"], "match": {"name": "etcd"}}},
        ],
        "repeat": 3, "periodMs": 20_000,
    }  # fmt: skip

    is_composite = True
    lists_others = True

    steps: tuple[Step, ...] = Field(min_length=1, max_length=MAX_STEPS, description="What a round is made of.")
    repeat: Annotated[StrictInt, Field(ge=1, le=MAX_REPEAT)] = Field(1, description="How many rounds.")
    period_ms: Annotated[StrictInt, Field(ge=0, le=MAX_DURATION_MS)] = Field(
        0, description="From one round's start to the next; 0: a round starts when the one before has ended."
    )

    @property
    def round_ms(self) -> int:
        """From one round's start to the next."""
        return self.period_ms or max(step.offset_ms + step.duration_ms for step in self.steps)

    def classes(self) -> set[str]:
        return classes_of(step.spec for step in self.steps)

    def check(self, topology: Topology) -> None:
        if (count := len(self.steps) * self.repeat) > MAX_TASKS:
            raise SpecError(f"steps, repeat: {count} tasks are more than {MAX_TASKS}")
        problems = [
            problem
            for index, step in enumerate(self.steps)
            for problem in spec_problems(f"steps[{index}].spec", step.spec, topology, set())
        ]
        if problems:
            raise SpecError("; ".join(problems[:20]))

    def target_nodes(self, topology: Topology) -> list[str]:
        return _targets((step.spec for step in self.steps), topology)


class TargetSpec(Spec, name="trogdor.schedule.TargetSpec"):
    """A fault on nodes that are found out 500 ms before its start: the leader, the controller, whatever a command says.

    ``$nodes`` in its spec are the nodes found, ``$others`` all others with an agent; ``$node`` and ``$other`` are one
    of them each.
    """

    example: ClassVar[dict[str, Any]] = {
        "resolve": "etcd", "role": "leader",
        "spec": {"class": "NetworkPartitionFaultSpec", "partitions": ["$nodes", "$others"]},
    }  # fmt: skip

    is_composite = True

    resolve: StrictStr = Field("", max_length=255, description="Who is asked: a resolver, such as etcd.")
    role: StrictStr = Field("leader", max_length=255, description="What is looked for.")
    command: tuple[StrictStr, ...] = Field(
        (), max_length=1000, description="Or an allowed command, run by the coordinator; it prints node names."
    )
    options: dict[str, Any] = Field({}, description="What the resolver wants to know, such as a port.")
    deadline_ms: Annotated[StrictInt, Field(ge=1, le=60_000)] = Field(5000, description="How long it may take.")
    spec: Template = Field(description="Any spec, without its times, with $nodes and the like in it.")

    def classes(self) -> set[str]:
        return classes_of([self.spec])

    def check(self, topology: Topology) -> None:
        if bool(self.resolve) == bool(self.command):
            raise SpecError("resolve, command: exactly one of them is needed")
        agents = topology.agents()
        if agents:
            problems = list(spec_problems("spec", fill(self.spec, agents[:1], agents[1:]), topology, set()))
            if problems:
                raise SpecError("; ".join(problems))

    def target_nodes(self, topology: Topology) -> list[str]:
        """Any node may turn out to be meant."""
        return topology.agents()


def _targets(templates: Iterator[dict[str, Any]], topology: Topology) -> list[str]:
    names: set[str] = set()
    for template in templates:
        fields = dict(template)
        names.update(REGISTRY.find(fields.pop("class")).model_validate(fields).target_nodes(topology))
    return sorted(names)
