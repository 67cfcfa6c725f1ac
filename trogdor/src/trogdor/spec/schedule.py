"""Schedules: faults drawn by a seed, and the same once they are drawn."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, StrictStr, ValidationError, model_validator

from trogdor.spec.base import (
    MAX_DURATION_MS,
    REGISTRY,
    Document,
    Spec,
    SpecError,
    UnknownSpecClass,
    classes_of,
    require_known,
)
from trogdor.spec.problems import problems_in, shown
from trogdor.spec.template import fill
from trogdor.topology import Topology

FORMAT_VERSION = 1
"""Of drawing: a seed draws the same schedule as long as this is the same. Raised whenever drawing changes."""

MAX_TASKS = 1_000_000
MAX_TEMPLATES = 1000

Ms = Annotated[StrictInt, Field(ge=1, le=MAX_DURATION_MS)]
FormatVersion = Annotated[StrictInt, Field(ge=1, le=FORMAT_VERSION)]


class ConstantLength(Document):
    """Always the same."""

    type: Literal["constant"] = "constant"
    ms: Ms


class UniformLength(Document):
    """Each length from ``minMs`` to ``maxMs`` is as likely as any other."""

    type: Literal["uniform"] = "uniform"
    min_ms: Annotated[StrictInt, Field(ge=0, le=MAX_DURATION_MS)]
    max_ms: Ms

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_ms > self.max_ms:
            raise ValueError("minMs is more than maxMs")
        return self


class ExponentialLength(Document):
    """Exponential with this mean: many short, a few long; longer than ``maxMs`` (ten means unless told) becomes it."""

    type: Literal["exponential"] = "exponential"
    mean_ms: Ms
    max_ms: Ms | None = None


class OneOfLength(Document):
    """One of these, each as likely."""

    type: Literal["oneOf"] = "oneOf"
    ms: tuple[Ms, ...] = Field(min_length=1, max_length=1000)


Length = Annotated[
    ConstantLength | UniformLength | ExponentialLength | OneOfLength,
    Field(discriminator="type"),
]


class NodeChoice(Document):
    """Which nodes a fault is drawn for."""

    names: tuple[StrictStr, ...] = Field((), description="Among these; none: among all that have an agent.")
    tag: StrictStr = Field("", description="Among those with this tag.")
    never: tuple[StrictStr, ...] = Field((), description="These appear in no fault, not even as the others.")
    count: Annotated[StrictInt, Field(ge=1)] | Literal["minority", "majority", "all"] = Field(
        1,
        description="How many. minority: fewer than half of those to draw from, together with every other fault "
        "in force at the time, so that a quorum is left; majority: more than half.",
    )

    def eligible(self, topology: Topology, never: frozenset[str] = frozenset()) -> list[str]:
        """The nodes to draw from, sorted."""
        banned = never | set(self.never)
        named = set(self.names) or set(topology.agents())
        return [
            name
            for name in topology.agents()
            if name in named and name not in banned and (not self.tag or self.tag in topology.nodes[name].tags)
        ]

    def problem(self, eligible: list[str]) -> str:
        """What is wrong with drawing from these, or nothing."""
        if not eligible:
            return "no node with an agent is left to draw from"
        if isinstance(self.count, int) and self.count > len(eligible):
            return f"{self.count} nodes are wanted, and only {len(eligible)} can be drawn: {', '.join(eligible)}"
        if self.count == "minority" and len(eligible) < 3:
            return f"{', '.join(eligible)}: a minority of {len(eligible)} is no node"
        return ""


def _known(template: dict[str, Any]) -> dict[str, Any]:
    name = template.get("class")
    try:
        found = REGISTRY.find(name if isinstance(name, str) else "")
    except UnknownSpecClass as error:
        raise ValueError(str(error)) from None
    if found.lists_others:
        raise ValueError("a schedule or sequence cannot be part of another")
    if given := {"startMs", "durationMs"} & set(template):
        raise ValueError(f"{', '.join(sorted(given))}: given by what this is a part of")
    return {**template, "class": found.class_name}


Template = Annotated[dict[str, Any], AfterValidator(_known)]
"""Any spec without its times, where nodes may stand as ``$nodes`` and the like."""


class FaultTemplate(Document):
    """A fault to draw: any spec without its times, with ``$nodes`` and the like where nodes are to stand.

    ``$nodes`` is the list of the nodes drawn, ``$others`` of all others that are not excluded; ``$node`` and
    ``$other`` are one of them each (``trogdor.spec.template``).
    """

    weight: Annotated[StrictInt, Field(ge=1, le=1_000_000)] = Field(1, description="How often, against the others.")
    spec: Template = Field(description="Any spec, with $nodes in it.")
    length: Length | None = Field(None, description="How long; the schedule's length unless told.")
    nodes: NodeChoice | None = Field(None, description="On which nodes; the schedule's unless told.")


class CheckCommand(Document):
    """A command of the user's that says whether all is well: exit code 0. It runs where the coordinator runs.

    Only programs that the coordinator's setting ``trogdor.external.commands`` lists.
    """

    command: tuple[StrictStr, ...] = Field(min_length=1, max_length=1000, description="The program and its arguments.")
    every_ms: Annotated[StrictInt, Field(ge=100, le=MAX_DURATION_MS)] = Field(
        5000, description="How often while the schedule runs, in ms; once more at its end."
    )
    timeout_ms: Annotated[StrictInt, Field(ge=1, le=3_600_000)] = Field(
        60_000, description="One that takes longer has failed, in ms."
    )


CheckField = Annotated[
    CheckCommand | None,
    Field(alias="check", description="Ends all faults at once when it fails, which is the task's error then."),
]


class RandomScheduleSpec(Spec, name="trogdor.schedule.RandomScheduleSpec"):
    """Faults drawn by a seed over ``durationMs``: the same seed and nodes, the same faults, on every machine."""

    example: ClassVar[dict[str, Any]] = {
        "seed": 1, "atOnce": 2, "quietMs": 10_000,
        "length": {"type": "uniform", "minMs": 1000, "maxMs": 10_000},
        "pause": {"type": "exponential", "meanMs": 2000},
        "nodes": {"count": "minority"},
        "faults": [
            {"weight": 3, "spec": {"class": "NetworkPartitionFaultSpec", "partitions": ["$nodes", "$others"]}},
            {"spec": {"class": "ProcessPauseFaultSpec", "nodeNames": "$nodes", "match": {"name": "etcd"}}},
        ],
    }  # fmt: skip
    is_composite = True
    lists_others = True

    format_version: FormatVersion = Field(FORMAT_VERSION, description="Of drawing; a seed means nothing without it.")
    seed: Annotated[StrictInt, Field(ge=0, lt=2**64)] = Field(0, description="0 to 2^64 - 1.")
    faults: tuple[FaultTemplate, ...] = Field(min_length=1, max_length=MAX_TEMPLATES, description="What to draw from.")
    at_once: Annotated[StrictInt, Field(ge=1, le=1000)] = Field(1, description="Never more in force at once.")
    length: Length = Field(UniformLength(min_ms=1000, max_ms=10_000), description="How long a fault is in force.")
    pause: Length = Field(
        UniformLength(min_ms=0, max_ms=5000),
        description="Before each fault; each of the atOnce takes its turns apart from the others.",
    )
    nodes: NodeChoice = Field(NodeChoice(), description="On which nodes, where a fault does not say.")
    quiet_ms: Annotated[StrictInt, Field(ge=0, le=MAX_DURATION_MS)] = Field(
        0, description="No fault at the end of the schedule, for so long, in ms."
    )
    max_faults: Annotated[StrictInt, Field(ge=1, le=MAX_TASKS)] = Field(
        100_000, description="The schedule ends after as many."
    )
    check_command: CheckField = None

    def programs(self) -> dict[str, str]:
        return {"check.command": self.check_command.command[0]} if self.check_command else {}

    def classes(self) -> set[str]:
        return classes_of(template.spec for template in self.faults)

    def choice(self, template: FaultTemplate) -> NodeChoice:
        """Which nodes a template is drawn for: its own words, else the schedule's."""
        return template.nodes or self.nodes

    def check(self, topology: Topology) -> None:
        problems = list(self._problems(topology))
        if problems:
            raise SpecError("; ".join(problems))

    def _problems(self, topology: Topology) -> Iterator[str]:
        if self.quiet_ms >= self.duration_ms:
            yield f"durationMs: no time is left for faults ({self.duration_ms} ms, the last {self.quiet_ms} ms quiet)"
        yield from self._unknown_nodes(topology)
        for index, template in enumerate(self.faults):
            choice = self.choice(template)
            eligible = choice.eligible(topology, frozenset(self.nodes.never))
            if problem := choice.problem(eligible):
                yield f"faults[{index}].nodes: {problem}"
            else:
                yield from self._template_problems(f"faults[{index}].spec", template, eligible, topology)

    def _unknown_nodes(self, topology: Topology) -> Iterator[str]:
        choices = [("nodes", self.nodes)]
        choices += [(f"faults[{n}].nodes", fault.nodes) for n, fault in enumerate(self.faults) if fault.nodes]
        for path, choice in choices:
            unknown = sorted({*choice.names, *choice.never} - set(topology.nodes))
            if unknown:
                yield f"{path}: unknown nodes: {', '.join(unknown)}"

    def _template_problems(
        self, path: str, template: FaultTemplate, eligible: list[str], topology: Topology
    ) -> Iterator[str]:
        count = self.choice(template).count
        nodes = eligible[: count if isinstance(count, int) else len(eligible) if count == "all" else 1]
        banned = set(self.nodes.never) | set(self.choice(template).never)
        others = [name for name in topology.agents() if name not in nodes and name not in banned]
        yield from spec_problems(path, fill(template.spec, nodes, others), topology, banned)

    def target_nodes(self, topology: Topology) -> list[str]:
        banned = set(self.nodes.never)
        return require_known([name for name in topology.agents() if name not in banned], topology)


class ScheduledTask(Document):
    """One task of a schedule, ``atMs`` after the schedule's start."""

    at_ms: Annotated[StrictInt, Field(ge=0, le=MAX_DURATION_MS)] = Field(description="After the schedule's start.")
    duration_ms: Ms = Field(description="How long.")
    spec: Template = Field(description="Any spec, without its times.")

    @property
    def end_ms(self) -> int:
        """When it ends, in ms after the schedule's start."""
        return self.at_ms + self.duration_ms


class FixedScheduleSpec(Spec, name="trogdor.schedule.FixedScheduleSpec"):
    """Tasks at their times: what a random schedule has drawn, or what someone wrote down."""

    example: ClassVar[dict[str, Any]] = {
        "tasks": [{"atMs": 1000, "durationMs": 5000, "spec": {"class": "NoOpTaskSpec"}}],
    }

    is_composite = True
    lists_others = True
    keeps_empty: ClassVar[frozenset[str]] = frozenset({"tasks"})

    format_version: FormatVersion = Field(FORMAT_VERSION, description="Of the schedule that this was drawn from.")
    seed: Annotated[StrictInt, Field(ge=0, lt=2**64)] | None = Field(None, description="The seed it was drawn by.")
    tasks: tuple[ScheduledTask, ...] = Field(max_length=MAX_TASKS, description="In any order.")
    check_command: CheckField = None

    def programs(self) -> dict[str, str]:
        return {"check.command": self.check_command.command[0]} if self.check_command else {}

    def classes(self) -> set[str]:
        return classes_of(task.spec for task in self.tasks)

    def check(self, topology: Topology) -> None:
        problems = [
            f"tasks[{index}]: ends at {task.end_ms} ms, after the schedule's durationMs ({self.duration_ms})"
            for index, task in enumerate(self.tasks)
            if task.end_ms > self.duration_ms
        ]
        for index, task in enumerate(self.tasks):
            problems += spec_problems(f"tasks[{index}].spec", task.spec, topology, set())
        if problems:
            raise SpecError("; ".join(problems[:20] + ([f"and {len(problems) - 20} more"] if problems[20:] else [])))

    def target_nodes(self, topology: Topology) -> list[str]:
        names: set[str] = set()
        for task in self.tasks:
            names.update(_parse(task.spec).target_nodes(topology))
        return require_known(sorted(names) or topology.agents(), topology)


def drawn_by(spec: RandomScheduleSpec | FixedScheduleSpec) -> str:
    """``seed 17, format version 1``: what all output on a schedule tells of it first."""
    return _drawn_by(spec.seed, spec.format_version)


def drawn_by_json(document: Mapping[str, Any]) -> str | None:
    """The same of a task's spec as JSON; None where it is no schedule."""
    classes: dict[str, type[Spec]] = {spec.__name__: spec for spec in (RandomScheduleSpec, FixedScheduleSpec)}
    spec = classes.get(str(document["class"]).rpartition(".")[2])
    if spec is None:
        return None
    seed = document.get("seed", spec.model_fields["seed"].default)
    return _drawn_by(seed, document.get("formatVersion", FORMAT_VERSION))


def _drawn_by(seed: int | None, format_version: int) -> str:
    return f"{'no seed' if seed is None else f'seed {seed}'}, format version {format_version}"


def _parse(document: dict[str, Any]) -> Spec:
    fields = dict(document)
    return REGISTRY.find(fields.pop("class")).model_validate(fields)


def spec_problems(path: str, document: dict[str, Any], topology: Topology, banned: set[str]) -> Iterator[str]:
    """What is wrong with a spec that a schedule carries, each problem with its path."""
    try:
        spec = _parse(document)
        spec.check(topology)
        targets = spec.target_nodes(topology)
    except ValidationError as error:
        for steps, message in problems_in(error):
            yield f"{shown(steps, path)}: {message}"
    except SpecError as error:
        yield f"{path}: {error}"
    else:
        if wrong := sorted(banned & set(targets)):
            yield f"{path}: it touches {', '.join(wrong)}, excluded by never"
