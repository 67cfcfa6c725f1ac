"""A rolling restart: one broker after the other, each from a restart's start on, or once the one before is back."""

from collections.abc import Sequence

from trogdor.compose.kafka import ask, killed
from trogdor.compose.part import Course, Part, untimed
from trogdor.compose.question import Answer, Question
from trogdor.spec import SpecError
from trogdor.spec.kafka import RollingRestartFaultSpec

Answers = Sequence[Answer]


def questions(spec: RollingRestartFaultSpec) -> list[Question]:
    """Which brokers there are, where none is named, and which are in sync in all that they hold."""
    return [*([] if spec.node_names else [ask(spec, "brokers")]), ask(spec, "in-sync-brokers")]


def steps(spec: RollingRestartFaultSpec, first: Answers) -> list[Part]:
    """Every restart; without an interval, at the time of the first. Raises SpecError where they do not fit."""
    names = _names(spec, first)
    if spec.interval_ms * (len(names) - 1) + spec.down_ms > spec.duration_ms:
        raise SpecError(f"{len(names)} brokers, each {spec.down_ms} ms down, are more than durationMs has room for")
    return [
        Part(index * spec.interval_ms, spec.down_ms, untimed(each))
        for index, name in enumerate(names)
        for each in killed(spec, [name])
    ]


def further(spec: RollingRestartFaultSpec, course: Course) -> list[Part]:
    """The next restart if all before it are over and the brokers in sync again; else none."""
    if not _is_back(spec, course):
        return []
    return [Part(course.at_ms, part.duration_ms, part.document) for part in _left(spec, course)[:1]]


def is_complete(spec: RollingRestartFaultSpec, course: Course) -> bool:
    """Whether every broker was restarted and is in sync again."""
    return not _left(spec, course) and _is_back(spec, course)


def unfinished(spec: RollingRestartFaultSpec, course: Course) -> str:
    """What was not done within the time: the composite's error."""
    names, done = _names(spec, course.first), len(course.made)
    waited = f"{names[done - 1]} was not in sync again" if done else "nobody was restarted"
    left = f"; not restarted: {', '.join(names[done:])}" if names[done:] else ""
    return f"{waited} within durationMs ({spec.duration_ms}){left}"


def _names(spec: RollingRestartFaultSpec, first: Answers) -> Sequence[str]:
    return spec.node_names or first[0].nodes


def _left(spec: RollingRestartFaultSpec, course: Course) -> list[Part]:
    return steps(spec, course.first)[len(course.made) :]


def _is_back(spec: RollingRestartFaultSpec, course: Course) -> bool:
    in_sync = set(course.now[-1].nodes) if course.now else set()
    return all(each.is_over for each in course.made) and in_sync >= set(_names(spec, course.first))
