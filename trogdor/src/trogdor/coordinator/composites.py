"""Composite tasks: expanded into children, which are tasks of the store that upstream's routes do not show.

A child is made when its instant is near, so that a schedule of a hundred thousand faults costs what is under way.
"""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from trogdor.compose.expand import Part, expand, question_of
from trogdor.compose.resolve import Unresolved, resolve
from trogdor.coordinator.state import State, Task
from trogdor.instant import NS_PER_MS, NS_PER_S
from trogdor.spec import SpecError
from trogdor.topology import Topology

if TYPE_CHECKING:
    from trogdor.coordinator.tasks import Tasks

ASK_AHEAD_NS = 500 * NS_PER_MS
LONGEST_SLEEP_S = 3600.0


@dataclass
class _Plan:
    """What of a composite is still to be made."""

    parts: list[Part] = field(default_factory=list)
    next: int = 0
    is_known: bool = False
    alarm: asyncio.TimerHandle | None = None
    asking: "asyncio.Task[None] | None" = None

    @property
    def is_exhausted(self) -> bool:
        return self.is_known and self.next >= len(self.parts)


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
        elif question_of(parent.spec) is None:
            self._expand(parent, plan, [])
        elif parent.children:  # asked and answered before a restart
            plan.is_known = True
        else:
            self._at(plan, parent.start_boot_ns - ASK_AHEAD_NS, lambda: self._start_asking(parent, plan))

    def _at(self, plan: _Plan, instant_ns: int, call: Any) -> None:
        wait_s = max(0.0, (instant_ns - self._tasks.clock.boot_ns()) / NS_PER_S)
        if wait_s > LONGEST_SLEEP_S:
            wait_s, call = LONGEST_SLEEP_S, lambda inner=call: self._at(plan, instant_ns, inner)
        plan.alarm = asyncio.get_running_loop().call_later(wait_s, call)

    def _start_asking(self, parent: Task, plan: _Plan) -> None:
        plan.asking = asyncio.create_task(self._ask(parent, plan))

    async def _ask(self, parent: Task, plan: _Plan) -> None:
        question = question_of(parent.spec)
        assert question is not None
        try:
            answers = await resolve(question, document_of(self._tasks.topology))
        except Unresolved as error:
            self._fail(parent, plan, str(error))
            return
        self._tasks.events.emit("resolved", taskId=parent.id, nodes=answers)
        self._expand(parent, plan, answers)

    def _expand(self, parent: Task, plan: _Plan, answers: list[str]) -> None:
        try:
            plan.parts = expand(parent.spec, self._tasks.topology, answers)
        except SpecError as error:
            self._fail(parent, plan, str(error))
            return
        plan.is_known = True
        plan.next = len(parent.children or [])
        self._make_those_near(parent, plan)

    def _fail(self, parent: Task, plan: _Plan, error: str) -> None:
        plan.is_known = True
        parent.error = parent.error or error
        self._tasks.advance(parent)

    def _make_those_near(self, parent: Task, plan: _Plan) -> None:
        near_ns = self._tasks.clock.boot_ns() + self._tasks.ship_ahead_ns
        while not plan.is_exhausted and parent.start_boot_ns + plan.parts[plan.next].at_ms * NS_PER_MS <= near_ns:
            part = plan.parts[plan.next]
            plan.next += 1
            try:
                spec = part.spec(parent.spec.start_ms)
            except (ValidationError, SpecError) as error:
                parent.error = parent.error or str(error)
                continue
            self._tasks.create_child(parent, plan.next - 1, spec)
        if not plan.is_exhausted:
            at_ns = parent.start_boot_ns + plan.parts[plan.next].at_ms * NS_PER_MS - self._tasks.ship_ahead_ns
            self._at(plan, at_ns, lambda: self._make_those_near(parent, plan))
        self._tasks.advance(parent)

    def is_over(self, parent: Task) -> bool:
        """Whether every child there will be is final."""
        plan = self._plans.get(parent.seq)
        is_made = plan is not None and plan.is_exhausted
        return is_made and all(child.is_final for child in parent.children or [])

    def end(self, parent: Task) -> None:
        """No further child is made."""
        plan = self._plans.setdefault(parent.seq, _Plan())
        plan.is_known, plan.parts = True, []
        for pending in (plan.alarm, plan.asking):
            if pending is not None:
                pending.cancel()

    def forget(self, parent: Task) -> None:
        """The composite is final."""
        self._plans.pop(parent.seq, None)

    def close(self) -> None:
        """Looks at nothing any more."""
        for plan in self._plans.values():
            for pending in (plan.alarm, plan.asking):
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
