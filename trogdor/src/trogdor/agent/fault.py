"""One worker's fault: planned, claimed ahead, fired, looked at by a probe, planned again while it holds, released."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trogdor.agent.work import Json, Work
from trogdor.claim.ledger import Ledger
from trogdor.claim.model import Fired, Term, Trouble, Undone
from trogdor.claim.points import reached
from trogdor.instant import NS_PER_MS, NS_PER_S, Clock, FiringThread
from trogdor.platform.base import CannotInject, Fault, Plan, Scene
from trogdor.probe.expect import Expectation
from trogdor.probe.sight import SEEN, Sight, Watch, not_seen, unverified
from trogdor.spec import Spec, SpecError
from trogdor.wire.status import NOT_UNDONE, FaultStatus, UndoneBy

log = logging.getLogger(__name__)

NEAR_NS = NS_PER_S
BASELINE_NS = 100 * NS_PER_MS
SPARE_NS = 5 * NS_PER_MS
"""The answer that a worker is armed is to be on its way this long before its instant."""

Probe = Callable[[Sequence[Expectation], Term], Watch]


@dataclass(frozen=True)
class Injection:
    """What a fault needs of the agent that carries it out."""

    fault: Fault
    spec: Spec
    term: Term
    scene: Scene
    wall_offset_ns: int
    ledger: Ledger
    clock: Clock
    firing: FiringThread
    probe: Probe


class InjectFault(Work):
    """A fault from its plan to its end."""

    def __init__(self, injection: Injection) -> None:
        self._of = injection
        self._plan = Plan((), ())
        self._ids: list[str] = []
        self._fired: Fired | None = None
        self._undone: Undone | None = None
        self._watches: list[Watch] = []
        self._looked_for: set[Expectation] = set()
        self._admitting: asyncio.Future[None] | None = None
        self._holding = False
        self._status = FaultStatus(
            verdict="armed",
            asked_start_ms=self._ms(injection.term.start_ns),
            asked_end_ms=self._ms(injection.term.end_ns),
        )

    @property
    def status(self) -> Json:
        return self._status.to_json()

    def _ms(self, boot_ns: int) -> float:
        return (boot_ns + self._of.wall_offset_ns) // 1000 / 1000

    def _tell(self, **changes: object) -> None:
        self._status = self._status.model_copy(update=changes)
        self.changed()

    async def prepare(self) -> None:
        of = self._of
        self._plan = await asyncio.to_thread(self._make_plan)
        self._watch_for(self._plan.expect)
        self._ids = [claim.id for claim in self._plan.claims]
        kinds = dict.fromkeys(claim.kind for claim in self._plan.claims)
        said = {"via": tuple(kinds), "targets": tuple(self._plan.targets), "notes": tuple(self._plan.notes)}
        self._status = self._status.model_copy(update=said)
        try:
            await asyncio.to_thread(of.ledger.admit, self._plan.claims)
        except BaseException:
            self._close_watches()
            raise
        await self._look_before()

    async def _look_before(self) -> None:
        """A fault that begins soon is not armed before the probe has its baseline, or would be late."""
        left_ns = self._of.term.start_ns - self._of.clock.boot_ns() - SPARE_NS
        within_ns = min(left_ns, BASELINE_NS) if 0 < left_ns < NEAR_NS else 0
        await self._watches[0].based(within_ns / NS_PER_S)

    def _watch_for(self, expect: Sequence[Expectation]) -> Watch:
        self._looked_for.update(expect)
        watch = self._of.probe(expect, self._of.term)
        self._watches.append(watch)
        return watch

    def _close_watches(self) -> None:
        for watch in self._watches:
            watch.close()

    async def disarmed(self) -> None:
        await asyncio.to_thread(self._of.ledger.tidy)
        self._close_watches()
        self._tell(verdict=unverified("it was never in force").verdict)

    def _make_plan(self) -> Plan:
        of = self._of
        return of.fault.plan(of.spec, of.scene, of.fault.facts(of.spec, of.scene), of.term)

    def fire(self) -> None:
        self._holding = True
        self._fired = self._of.ledger.fire(self._ids)

    async def run(self) -> str:
        assert self._fired is not None
        self._tell(text=self._of.fault.text[0].format(spec=self._of.spec, task_id=self._of.term.task_id))
        again = asyncio.create_task(self._plan_again_and_again())
        try:
            return await self._look(self._fired)
        finally:
            again.cancel()
            await asyncio.wait([again])

    async def _look(self, fired: Fired) -> str:
        """What the probe sees while the fault holds; returns when that is not what it should see."""
        watch = self._watches[0]
        if not self._plan.expect:
            self._tell(verdict=unverified(self._plan.unverified or "nothing looks at this fault yet").verdict)
        else:
            reached("agent:look.before")
            sight = await watch.seen(fired.at_ns)
            reached("agent:seen")
            self._tell_sight(sight)
            if sight.verdict.startswith("not seen"):
                return _with_troubles(sight.verdict, fired.troubles)
        if fired.troubles:
            return _with_troubles("the fault did not take in whole", fired.troubles)
        why = await watch.broken()
        lost = await asyncio.to_thread(self._of.ledger.undone_elsewhere, self._ids)
        changed = {id_: trouble for id_, trouble in lost.items() if trouble.what != "gone"}
        if not self._holding or self._of.scene.place.is_gone:
            await asyncio.Event().wait()
        verdict = _with_troubles(not_seen(why).verdict, changed)
        self._tell(verdict=verdict)
        return verdict

    def _tell_sight(self, sight: Sight) -> None:
        verdict = sight.verdict
        if verdict == SEEN and self._plan.unverified:
            verdict = unverified(self._plan.unverified).verdict
        self._tell(verdict=verdict, seen_start_ms=None if sight.at_ns is None else self._ms(sight.at_ns))

    async def _plan_again_and_again(self) -> None:
        while self._of.fault.replan_ms:
            await asyncio.sleep(self._of.fault.replan_ms / 1000)
            try:
                await self._plan_again()
            except (CannotInject, SpecError, OSError) as error:
                log.warning("task %s: could not be planned again: %s", self._of.term.task_id, error)
            except Exception:
                log.exception("task %s: could not be planned again", self._of.term.task_id)

    async def _plan_again(self) -> None:
        """Looks at the node again; claims and fires what is new there, so that the fault holds for it too."""
        plan = await asyncio.to_thread(self._make_plan)
        known = set(self._ids)
        new = [claim for claim in plan.claims if claim.id not in known]
        if not new:
            return
        ids = [claim.id for claim in new]
        expect = [expected for expected in plan.expect if expected not in self._looked_for]
        watch = self._watch_for(expect)
        self._ids += ids
        self._admitting = asyncio.ensure_future(asyncio.to_thread(self._of.ledger.admit, new))
        try:
            await asyncio.shield(self._admitting)
        except Exception:
            self._ids = [id_ for id_ in self._ids if id_ not in ids]
            self._looked_for.difference_update(expect)
            self._watches.remove(watch)
            watch.close()
            raise
        fired = await self._fire_more(ids)
        if fired is None:
            return
        sight = await watch.seen(fired.at_ns)
        late_ms = self._ms(fired.at_ns) - self._ms(self._of.term.start_ns)
        fresh = [target for target in plan.targets if target not in self._status.targets]
        note = _with_troubles(f"{', '.join(fresh)}: {late_ms:.0f} ms after the start, {sight.verdict}", fired.troubles)
        self._tell(targets=(*self._status.targets, *fresh), notes=(*self._status.notes, note))

    async def _fire_more(self, ids: Sequence[str]) -> Fired | None:
        """Fires what was found later; None when the fault ended before that."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Fired | None] = loop.create_future()

        def fire() -> None:
            fired = self._of.ledger.fire(ids) if self._holding else None
            loop.call_soon_threadsafe(_settle, result, fired)

        self._of.firing.at(0, fire)
        return await result

    def release(self, how: str) -> None:
        self._holding = False
        self._undone = self._of.ledger.release(self._ids, how, tidy=False)

    async def finish(self) -> str:
        assert self._undone is not None
        undone = self._undone
        await self._release_late_claims()
        await asyncio.to_thread(self._of.ledger.tidy)
        if (place := self._of.scene.place).is_gone:
            self._close_watches()
            note = f"process {place.root_pid}, whose namespaces it was, has ended, and the fault with it"
            self._tell(undone_by="gone", notes=(*self._status.notes, note))
            return ""
        self._tell(
            text=self._of.fault.text[1].format(spec=self._of.spec, task_id=self._of.term.task_id),
            undone_by=_undone_by(undone),
            notes=(*self._status.notes, *undone.left_alone),
        )
        if self._status.verdict == "armed":
            self._tell_sight(self._looked_back(undone))
        try:
            if self._plan.claims:
                reached("agent:look.again")
                sight = await self._watches[0].gone(undone.at_ns)
                reached("agent:seen.gone")
                self._tell(seen_end_ms=None if sight.at_ns is None else self._ms(sight.at_ns))
                is_open = self._status.verdict.startswith("unverified")
                if is_open and (later := self._looked_back(undone)).verdict == SEEN:
                    self._tell_sight(later)
        finally:
            self._close_watches()
        if undone.failed:
            return (
                f"{NOT_UNDONE}: {'; '.join(undone.failed)}. The agent tries again every few seconds, and after "
                f"the fault's end its warden instead; `trogdor faults` and `trogdor heal --local` show what is left"
            )
        return ""

    def _looked_back(self, undone: Undone) -> Sight:
        """What the probe can say of the fault now that it is over."""
        if self._fired is None or not self._plan.expect:
            return unverified(self._plan.unverified or "nothing looks at this fault yet")
        return self._watches[0].looked_back(self._fired.at_ns, undone.at_ns)

    async def _release_late_claims(self) -> None:
        """Forgets what a second look at the node was still admitting when the fault ended."""
        if self._admitting is not None:
            await asyncio.wait([self._admitting])
            await asyncio.to_thread(self._of.ledger.release, self._ids, "end")


def _settle(result: "asyncio.Future[Fired | None]", fired: Fired | None) -> None:
    if not result.done():
        result.set_result(fired)


def _with_troubles(text: str, troubles: Mapping[str, Trouble]) -> str:
    whys = dict.fromkeys(trouble.text for trouble in troubles.values())
    return "; ".join([text, *whys])


def _undone_by(undone: Undone) -> UndoneBy | None:
    names: dict[str, UndoneBy] = {
        "end": "end", "stop": "stop", "kernel": "kernel", "warden": "warden", "replay": "replay", "gone": "gone",
    }  # fmt: skip
    return None if undone.failed else names.get(undone.by)
