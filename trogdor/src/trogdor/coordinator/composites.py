"""Composite tasks: expanded into children, which are tasks of the store that upstream's routes do not show.

A child is made when its instant is near, so that a schedule of a hundred thousand faults costs what is under way.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from trogdor.compose.expand import (
    check_of,
    expand,
    first_parts,
    follow_ms,
    further,
    is_asked_at_creation,
    is_complete,
    questions,
    unfinished,
)
from trogdor.compose.part import Course, Made, Part, untimed
from trogdor.compose.question import Answer
from trogdor.compose.resolve import Unresolved, resolve
from trogdor.coordinator.checks import failure_until
from trogdor.coordinator.state import State, Task
from trogdor.hunt.check import FAILED
from trogdor.instant import NS_PER_MS, NS_PER_S
from trogdor.spec import Spec, SpecError
from trogdor.spec.schedule import CheckCommand
from trogdor.topology import EXTERNAL_COMMANDS, Topology

if TYPE_CHECKING:
    from trogdor.coordinator.tasks import Tasks

log = logging.getLogger(__name__)

ASK_AHEAD_NS = 500 * NS_PER_MS
LONGEST_SLEEP_S = 3600.0


@dataclass
class _Plan:
    """What of a composite is still to be made."""

    parts: list[Part] = field(default_factory=list)
    next: int = 0
    is_known: bool = False
    alarm: asyncio.TimerHandle | None = None
    leading: "asyncio.Task[None] | None" = None
    follows: bool = False
    """More parts may be found out."""
    is_checked: bool = True
    """Its own check, if it has one, has been run for the last time."""
    first: list[Answer] = field(default_factory=list)
    """What it began with."""

    @property
    def is_exhausted(self) -> bool:
        return self.is_known and not self.follows and self.is_checked and self.next >= len(self.parts)


class Composites:
    """Leads composites from their creation to the end of their last child."""

    def __init__(self, tasks: "Tasks") -> None:
        self._tasks = tasks
        self._plans: dict[int, _Plan] = {}

    def begin(self, parent: Task) -> None:
        """Sees to a composite whose record is on disk, from wherever it was."""
        plan = self._plans[parent.seq] = _Plan()
        if parent.state is State.STOPPING:
            plan.is_known = True
            self._tasks.advance(parent)
        elif not questions(parent.spec, self._tasks.topology):
            self._start(parent, plan)
        elif parent.children:
            self._resume(parent, plan)
        else:
            ahead_ns = parent.start_boot_ns if is_asked_at_creation(parent.spec) else ASK_AHEAD_NS
            self._at(plan, parent.start_boot_ns - ahead_ns, lambda: self._start(parent, plan))

    def refusal(self, spec: Spec) -> str:
        """Why a composite's nodes cannot be asked for here, or nothing: a command has to be allowed."""
        node = self._tasks.node
        for question in questions(spec, self._tasks.topology):
            program = next(iter(question.options.get("command") or ()), "")
            if question.resolve == "command" and not node.may_run(str(program)):
                return (
                    f"command: {program} is not allowed on {node.name}, where the coordinator runs; "
                    f'add it to "{EXTERNAL_COMMANDS}" of that node in the coordinator\'s configuration file'
                )
        return ""

    def _at(self, plan: _Plan, instant_ns: int, call: Any) -> None:
        wait_s = max(0.0, (instant_ns - self._tasks.clock.boot_ns()) / NS_PER_S)
        if wait_s > LONGEST_SLEEP_S:
            wait_s, call = LONGEST_SLEEP_S, lambda inner=call: self._at(plan, instant_ns, inner)
        plan.alarm = asyncio.get_running_loop().call_later(wait_s, call)

    def _start(self, parent: Task, plan: _Plan) -> None:
        plan.leading = asyncio.create_task(self._lead(parent, plan))

    def _resume(self, parent: Task, plan: _Plan) -> None:
        """One that was asked for, and answered, before a restart."""
        plan.first = [Answer.from_json(told) for told in parent.found or []]
        plan.parts = [Part(0, child.spec.duration_ms, untimed(child.spec)) for child in parent.children or []]
        plan.next, plan.is_known, plan.follows = len(plan.parts), True, bool(follow_ms(parent.spec))
        self._start(parent, plan)

    async def _lead(self, parent: Task, plan: _Plan) -> None:
        """Finds the parts of a composite, and more as long as it follows; whatever fails is the task's error."""
        try:
            if not plan.is_known:
                await self._find(parent, plan)
            check = check_of(parent.spec)
            plan.is_checked = check is None
            self._make_those_near(parent, plan)
            if plan.follows:
                await self._follow(parent, plan)
            if check is not None:
                await self._check(parent, plan, check)
        except (Unresolved, SpecError) as error:
            self._fail(parent, plan, str(error))
        except Exception as error:
            log.exception("task %s cannot be expanded", parent.id)
            self._fail(parent, plan, f"{type(error).__name__}: {error}")

    async def _find(self, parent: Task, plan: _Plan) -> None:
        topology = self._tasks.topology
        if questions(parent.spec, topology):
            plan.first = await self._answers(parent)
            self._note(parent, plan.first)
        parts = await asyncio.to_thread(expand, parent.spec, topology, plan.first)
        plan.parts = first_parts(parent.spec, parts)
        plan.next, plan.is_known, plan.follows = len(parent.children or []), True, bool(follow_ms(parent.spec))

    async def _answers(self, parent: Task) -> list[Answer]:
        if refusal := self.refusal(parent.spec):
            raise Unresolved(refusal)
        return await resolve(questions(parent.spec, self._tasks.topology), document_of(self._tasks.topology))

    def _note(self, parent: Task, answers: list[Answer]) -> None:
        """Whom it hits and how that was found goes into the store, the status and the events."""
        asked = questions(parent.spec, self._tasks.topology)
        self._tasks.has_found(
            parent, [answer.to_json(question) for question, answer in zip(asked, answers, strict=True)]
        )

    async def _follow(self, parent: Task, plan: _Plan) -> None:
        """Asks again and again until the composite's end, or until nothing is missing; what is new is made at once."""
        clock, every_s = self._tasks.clock, follow_ms(parent.spec) / 1000
        while (left_ns := parent.end_boot_ns - clock.boot_ns()) > 0 and not parent.error:
            await asyncio.sleep(min(every_s, left_ns / NS_PER_S))
            if clock.boot_ns() < parent.start_boot_ns:
                continue
            try:
                if self._go_on(parent, plan, await self._answers(parent)):
                    break
            except (Unresolved, SpecError):
                continue  # nobody has the role at present, or nobody can say so
        else:
            parent.error = parent.error or unfinished(parent.spec, self._course(parent, plan, ()))
        plan.follows = False
        self._tasks.advance(parent)

    def _go_on(self, parent: Task, plan: _Plan, answers: list[Answer]) -> bool:
        """Makes what there is to be made now; whether nothing more is to come."""
        course = self._course(parent, plan, answers)
        if is_complete(parent.spec, course):
            return True
        if new := further(parent.spec, self._tasks.topology, course):
            self._note(parent, answers)
            plan.parts += new
            self._make_those_near(parent, plan)
        return False

    def _course(self, parent: Task, plan: _Plan, now: Sequence[Answer]) -> Course:
        made = [Made(untimed(child.spec), child.is_final) for child in parent.children or []]
        at_ms = max(0, -(-(self._tasks.clock.boot_ns() - parent.start_boot_ns) // NS_PER_MS))
        return Course(plan.first, now, made, at_ms)

    async def _check(self, parent: Task, plan: _Plan, check: CheckCommand) -> None:
        """Until the composite's end; ends all children at once when the schedule's own check fails."""
        clock = self._tasks.clock
        why = await failure_until(parent.end_boot_ns, check, clock, max(parent.start_boot_ns, clock.boot_ns()))
        if why:
            self._tasks.events.emit("mark", taskId=parent.id, text=f"{FAILED}{why}")
            self._tasks.end_failed(parent, f"{FAILED}{why}")
        plan.is_checked = True
        self._tasks.advance(parent)

    def _fail(self, parent: Task, plan: _Plan, error: str) -> None:
        plan.is_known, plan.parts, plan.follows, plan.is_checked = True, [], False, True
        parent.error = parent.error or error
        self._tasks.advance(parent)

    def _make_those_near(self, parent: Task, plan: _Plan) -> None:
        near_ns = self._tasks.clock.boot_ns() + self._tasks.ship_ahead_ns
        while plan.next < len(plan.parts) and self._instant_ns(parent, plan) <= near_ns:
            part = plan.parts[plan.next]
            plan.next += 1
            try:
                spec = part.spec(parent.spec.start_ms)
            except (ValidationError, SpecError) as error:
                parent.error = parent.error or str(error)
                continue
            self._tasks.create_child(parent, plan.next - 1, spec)
        if plan.next < len(plan.parts):
            at_ns = self._instant_ns(parent, plan) - self._tasks.ship_ahead_ns
            self._at(plan, at_ns, lambda: self._make_those_near(parent, plan))
        self._tasks.advance(parent)

    def _instant_ns(self, parent: Task, plan: _Plan) -> int:
        return parent.start_boot_ns + plan.parts[plan.next].at_ms * NS_PER_MS

    def is_over(self, parent: Task) -> bool:
        """Whether every child there will be is final."""
        plan = self._plans.get(parent.seq)
        is_made = plan is not None and plan.is_exhausted
        return is_made and all(child.is_final for child in parent.children or [])

    def end(self, parent: Task) -> None:
        """No further child is made."""
        plan = self._plans.setdefault(parent.seq, _Plan())
        plan.is_known, plan.parts, plan.follows, plan.is_checked = True, [], False, True
        for pending in (plan.alarm, plan.leading):
            if pending is not None:
                pending.cancel()

    def forget(self, parent: Task) -> None:
        """The composite is final."""
        self._plans.pop(parent.seq, None)

    def close(self) -> None:
        """Looks at nothing any more."""
        for plan in self._plans.values():
            for pending in (plan.alarm, plan.leading):
                if pending is not None:
                    pending.cancel()


def document_of(topology: Topology) -> dict[str, Any]:
    """A topology as the configuration file has it."""
    nodes = {
        name: {
            **node.settings,
            "hostname": node.hostname,
            "tags": sorted(node.tags),
            "addresses": list(node.addresses),
        }
        for name, node in topology.nodes.items()
    }
    return {"platform": topology.platform, "nodes": nodes}
