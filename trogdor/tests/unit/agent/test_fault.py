"""A fault from its plan to its end, over a node that is a dict."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trogdor.agent.fault import InjectFault, Injection
from trogdor.claim.ledger import Ledger
from trogdor.claim.model import CannotInject, Claim, Term, Trouble
from trogdor.instant import Clock, FiringThread
from trogdor.platform.base import Fault, Plan, Scene
from trogdor.probe.expect import ProcessStopped
from trogdor.probe.sight import SEEN, Sight, Watch
from trogdor.spec.task import NoOpTaskSpec
from trogdor.topology import Node, Topology
from unit.agent.sees import SeesAtOnce
from unit.claim.toy import KINDS, Toy

NOW_NS = Clock().boot_ns()
TERM = Term("t1", 1, NOW_NS, NOW_NS + 3600 * 10**9)
NODES = Topology({"n1": Node("n1", agent_port=1)})
WAIT_S = 30.0


def plan(_spec: Any, _scene: Any, keys: list[str], term: Term) -> Plan:
    return Plan([Claim(f"1/{key}", "toy", key, "a", term) for key in keys], (ProcessStopped(1, 1),), keys)


def work_of(
    facts: Callable[[Any, Any], list[str]], ledger: Ledger, firing: FiringThread, watch: type[Watch] = SeesAtOnce
) -> InjectFault:
    fault = Fault(NoOpTaskSpec, facts, plan, ("on", "off"), replan_ms=5)
    scene = Scene(NODES.nodes["n1"], NODES)
    return InjectFault(
        Injection(fault, NoOpTaskSpec(), TERM, scene, 0, ledger, Clock(), firing, lambda expect, term: watch())
    )


class SeesAfterwards(SeesAtOnce):
    """A watch to which only the end of the fault tells that it was there."""

    first = Sight("unverified: nothing came before")

    def __init__(self) -> None:
        self.over = False

    async def seen(self, fired_ns: int) -> Sight:
        return self.first

    def looked_back(self, fired_ns: int, undone_ns: int) -> Sight:
        return Sight(SEEN, fired_ns) if self.over else self.first

    async def gone(self, undone_ns: int) -> Sight:
        self.over = True
        return Sight(SEEN, undone_ns)


class DoesNotSee(SeesAfterwards):
    first = Sight("not seen: it is as before")


@pytest.mark.parametrize(("watch", "verdict"), [(SeesAfterwards, SEEN), (DoesNotSee, DoesNotSee.first.verdict)])
async def test_what_could_not_be_told_at_the_beginning_may_be_told_by_the_end_and_nothing_else_changes(
    tmp_path: Path, watch: type[Watch], verdict: str
) -> None:
    ledger, firing = Ledger.open(tmp_path, "n1", KINDS), FiringThread(Clock())
    work = work_of(lambda _spec, _scene: ["x"], ledger, firing, watch)
    try:
        await work.prepare()
        work.fire()
        running = asyncio.create_task(work.run())
        while work.status["verdict"] != watch.first.verdict:  # type: ignore[attr-defined]
            await asyncio.sleep(0.001)
        work.release("end")
        running.cancel()
        await asyncio.wait([running])
        await work.finish()
    finally:
        firing.close()
        ledger.close()
    assert work.status["verdict"] == verdict


async def test_what_fails_while_it_is_planned_again_is_tried_again_and_what_did_not_take_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Any] = [["first"], KeyError("a look that fails"), ["first", "later"], ["first", "later"]]
    prepared: list[Any] = [None, CannotInject("not yet"), None]

    def facts(_spec: Any, _scene: Any) -> list[str]:
        found = looks.pop(0) if len(looks) > 1 else looks[0]
        if isinstance(found, Exception):
            raise found
        return list(found)

    def prepare(_self: Toy, _claims: Any) -> None:
        if (failure := prepared.pop(0)) is not None:
            raise failure

    monkeypatch.setattr(Toy, "prepare", prepare)
    monkeypatch.setattr(Toy, "apply", lambda _, claims, bases, now: {"later": Trouble("failed", "too late")})
    ledger, firing = Ledger.open(tmp_path, "n1", KINDS), FiringThread(Clock())
    work = work_of(facts, ledger, firing)
    noted = asyncio.Event()
    work.changed = lambda: noted.set() if work.status["notes"] else None
    await work.prepare()
    work.fire()
    running = asyncio.create_task(work.run())
    try:
        await asyncio.wait_for(noted.wait(), WAIT_S)
    finally:
        running.cancel()
        await asyncio.wait([running])
        work.release("stop")
        firing.close()
        ledger.close()
    (note,) = work.status["notes"]
    assert note.startswith("later: ")
    assert note.endswith("seen; too late")


async def test_what_was_prepared_is_taken_away_after_the_end_and_not_on_the_firing_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tidied: list[int] = []
    monkeypatch.setattr(Toy, "discard", lambda _, claims: tidied.append(threading.get_ident()))
    ledger, firing = Ledger.open(tmp_path, "n1", KINDS), FiringThread(Clock())
    for fired in (True, False):
        work = work_of(lambda _spec, _scene: ["thing"], ledger, firing)
        await work.prepare()
        if fired:
            work.fire()
        work.release("stop")
        assert tidied == []
        await (work.finish() if fired else work.disarmed())
        assert tidied.pop() != threading.get_ident()
    firing.close()
    ledger.close()
