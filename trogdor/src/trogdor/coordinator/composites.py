"""Composite tasks: expanded into children, which are tasks of the store that upstream's routes do not show.

A child is made when its instant is near, so that a schedule of a hundred thousand faults costs what is under way.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from trogdor.compose.expand import Part, expand, follow_ms, is_asked_at_creation, questions
from trogdor.compose.question import Answer
from trogdor.compose.resolve import Unresolved, resolve
from trogdor.coordinator.state import State, Task
from trogdor.instant import NS_PER_MS, NS_PER_S
from trogdor.spec import SpecError
from trogdor.topology import Topology

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

    @property
    def is_exhausted(self) -> bool:
        return self.is_known and not self.follows and self.next >= len(self.parts)


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
        elif parent.children:  # asked and answered before a restart
            plan.is_known = True
        else:
            ahead_ns = parent.start_boot_ns if is_asked_at_creation(parent.spec) else ASK_AHEAD_NS
            self._at(plan, parent.start_boot_ns - ahead_ns, lambda: self._start(parent, plan))

    def _at(self, plan: _Plan, instant_ns: int, call: Any) -> None:
        wait_s = max(0.0, (instant_ns - self._tasks.clock.boot_ns()) / NS_PER_S)
        if wait_s > LONGEST_SLEEP_S:
            wait_s, call = LONGEST_SLEEP_S, lambda inner=call: self._at(plan, instant_ns, inner)
        plan.alarm = asyncio.get_running_loop().call_later(wait_s, call)

    def _start(self, parent: Task, plan: _Plan) -> None:
        plan.leading = asyncio.create_task(self._lead(parent, plan))

    async def _lead(self, parent: Task, plan: _Plan) -> None:
        """Finds the parts of a composite, and more as long as it follows; whatever fails is the task's error."""
        try:
            plan.parts = await self._parts(parent)
            plan.is_known = True
            plan.next = len(parent.children or [])
            every_ms = follow_ms(parent.spec)
            plan.follows = bool(every_ms)
            self._make_those_near(parent, plan)
            if every_ms:
                await self._follow(parent, plan, every_ms / 1000)
        except (Unresolved, SpecError) as error:
            self._fail(parent, plan, str(error))
        except Exception as error:
            log.exception("task %s cannot be expanded", parent.id)
            self._fail(parent, plan, f"{type(error).__name__}: {error}")

    async def _parts(self, parent: Task) -> list[Part]:
        answers = await self._answers(parent) if questions(parent.spec, self._tasks.topology) else []
        return await asyncio.to_thread(expand, parent.spec, self._tasks.topology, answers)

    async def _answers(self, parent: Task) -> list[Answer]:
        asked = questions(parent.spec, self._tasks.topology)
        answers = await resolve(asked, document_of(self._tasks.topology))
        parent.found = [answer.to_json(question) for question, answer in zip(asked, answers, strict=True)]
        parent.touch()
        names = list(dict.fromkeys(name for answer in answers for name in answer.nodes))
        self._tasks.events.emit("resolved", taskId=parent.id, nodes=names, found=parent.found)
        return answers

    async def _follow(self, parent: Task, plan: _Plan, every_s: float) -> None:
        """Asks again and again until the composite's end; what is new then is made at once, to the same end."""
        clock = self._tasks.clock
        while (left_ns := parent.end_boot_ns - clock.boot_ns()) > 0:
            await asyncio.sleep(min(every_s, left_ns / NS_PER_S))
            if clock.boot_ns() < parent.start_boot_ns:
                continue
            try:
                parts = await self._parts(parent)
            except (Unresolved, SpecError):
                continue  # nobody has the role at present, or nobody can say so
            at_ms = max(0, -(-(clock.boot_ns() - parent.start_boot_ns) // NS_PER_MS))
            known = [part.document for part in plan.parts]
            plan.parts += [
                Part(at_ms, max(part.duration_ms - at_ms, 1), part.document)
                for part in parts
                if part.document not in known
            ]
            self._make_those_near(parent, plan)
        plan.follows = False
        self._tasks.advance(parent)

    def _fail(self, parent: Task, plan: _Plan, error: str) -> None:
        plan.is_known, plan.parts, plan.follows = True, [], False
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
        plan.is_known, plan.parts, plan.follows = True, [], False
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
