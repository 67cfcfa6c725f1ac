"""From a composite to the specs it is made of: ``expand(spec, topology, answers)``, pure.

What it needs to know of the world it names by ``questions``; ``trogdor.compose.resolve`` has them answered.
"""

from collections.abc import Iterator, Sequence

from trogdor.compose import kafka, rolling
from trogdor.compose.part import Course, Part, untimed
from trogdor.compose.question import Answer, Question
from trogdor.compose.schedule import fixed
from trogdor.spec import Spec, SpecError
from trogdor.spec.composite import SequenceSpec, TargetSpec
from trogdor.spec.kafka import ControllerSuspendFaultSpec, KafkaFaultSpec, RollingRestartFaultSpec
from trogdor.spec.schedule import CheckCommand, FixedScheduleSpec, RandomScheduleSpec
from trogdor.spec.template import fill
from trogdor.topology import Topology

FOLLOW_MS = 250
"""How often it is asked anew who has a role, while whoever has it is followed."""


def check_of(spec: Spec) -> CheckCommand | None:
    """The check that a schedule is to be run with."""
    return spec.check_command if isinstance(spec, RandomScheduleSpec | FixedScheduleSpec) else None


def questions(spec: Spec, topology: Topology) -> list[Question]:
    """What has to be known before a spec can be expanded; often nothing."""
    if isinstance(spec, RollingRestartFaultSpec):
        return rolling.questions(spec)
    if isinstance(spec, KafkaFaultSpec):
        return kafka.questions(spec)
    if not isinstance(spec, TargetSpec):
        return []
    if spec.command:
        return [Question("command", "", {"command": spec.command}, spec.deadline_ms)]
    return [Question(spec.resolve, spec.role, spec.options, spec.deadline_ms)]


def is_asked_at_creation(spec: Spec) -> bool:
    """Whether the questions are asked when the task is made, and not shortly before its start."""
    return isinstance(spec, KafkaFaultSpec) and spec.ask_at == "creation"


def follow_ms(spec: Spec) -> int:
    """While the task runs its questions are asked again this often, and ``further`` parts are added; 0: never."""
    follows = (isinstance(spec, ControllerSuspendFaultSpec) and spec.follow) or _waits(spec)
    return FOLLOW_MS if follows else 0


def _waits(spec: Spec) -> bool:
    return isinstance(spec, RollingRestartFaultSpec) and not spec.interval_ms


def first_parts(spec: Spec, parts: list[Part]) -> list[Part]:
    """Those of a spec's parts to begin with: all, unless each waits for the one before."""
    return parts[:1] if _waits(spec) else parts


def further(spec: Spec, topology: Topology, course: Course) -> list[Part]:
    """What a spec that is followed asks for now beside what was made. Raises SpecError."""
    if isinstance(spec, RollingRestartFaultSpec):
        return rolling.further(spec, course)
    known = [each.document for each in course.made]
    left_ms = max(spec.duration_ms - course.at_ms, 1)
    parts = expand(spec, topology, course.now)
    return [Part(course.at_ms, left_ms, part.document) for part in parts if part.document not in known]


def is_complete(spec: Spec, course: Course) -> bool:
    """Whether a spec that is followed needs nothing further, before its end."""
    return isinstance(spec, RollingRestartFaultSpec) and rolling.is_complete(spec, course)


def unfinished(spec: Spec, course: Course) -> str:
    """The error of a spec that was followed to its end; empty where that is as it should be."""
    return rolling.unfinished(spec, course) if isinstance(spec, RollingRestartFaultSpec) else ""


def expand(spec: Spec, topology: Topology, answers: Sequence[Answer] = ()) -> list[Part]:
    """The tasks of a composite, by their start. ``answers``: one to each of its questions.

    Raises SpecError where they fit nothing.
    """
    if isinstance(spec, RandomScheduleSpec):
        spec = fixed(spec, topology)
    if isinstance(spec, FixedScheduleSpec):
        parts = [Part(task.at_ms, task.duration_ms, task.spec) for task in spec.tasks]
    elif isinstance(spec, SequenceSpec):
        parts = list(_rounds(spec))
    elif isinstance(spec, TargetSpec):
        (question,) = questions(spec, topology)
        parts = [_target(spec, topology, question, answers[0].nodes)]
    elif isinstance(spec, RollingRestartFaultSpec):
        parts = rolling.steps(spec, answers)
    elif isinstance(spec, KafkaFaultSpec):
        parts = [Part(0, spec.duration_ms, untimed(child)) for child in kafka.children(spec, answers)]
    else:
        raise SpecError(f"{spec.class_name} is no composite")
    return sorted(parts, key=lambda part: part.at_ms)


def _rounds(spec: SequenceSpec) -> Iterator[Part]:
    for number in range(spec.repeat):
        for step in spec.steps:
            at_ms = number * spec.round_ms + step.offset_ms
            left_ms = spec.duration_ms - at_ms if spec.duration_ms else step.duration_ms
            if left_ms > 0 or not spec.duration_ms:
                yield Part(at_ms, min(step.duration_ms, left_ms), step.spec)


def _target(spec: TargetSpec, topology: Topology, question: Question, names: Sequence[str]) -> Part:
    agents = topology.agents()
    if not names:
        raise SpecError(f"{question.words} names no node")
    if unknown := [name for name in names if name not in agents]:
        raise SpecError(f"{question.words} names {', '.join(unknown)}: no node with an agent")
    others = [name for name in agents if name not in names]
    return Part(0, spec.duration_ms, fill(spec.spec, list(names), others))
