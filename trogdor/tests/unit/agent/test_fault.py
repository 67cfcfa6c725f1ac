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
from trogdor.spec.task import NoOpTaskSpec
from trogdor.topology import Node, Topology
from unit.agent.sees import SeesAtOnce
from unit.claim.toy import KINDS, Toy

NOW_NS = Clock().boot_ns()
TERM = Term("t1", 1, NOW_NS, NOW_NS + 3600 * 10**9)
NODES = Topology({"n1": Node("n1", agent_port=1)})
WAIT_S = 30.0


def plan(_spec: Any, _scene: Any, keys: list[str], term: Term) -> Plan:
    return Plan([Claim(f"1/{key}", "toy", key, "a", term) for key in keys], (), keys)


def work_of(facts: Callable[[Any, Any], list[str]], ledger: Ledger, firing: FiringThread) -> InjectFault:
    fault = Fault(NoOpTaskSpec, facts, plan, ("on", "off"), replan_ms=5)
    scene = Scene(NODES.nodes["n1"], NODES)
    return InjectFault(
        Injection(fault, NoOpTaskSpec(), TERM, scene, 0, ledger, Clock(), firing, lambda expect, term: SeesAtOnce())
    )


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
