"""The whole life of a fault's worker for a claim, as an agent leads it, with a probe that sees at once."""

import asyncio
from collections.abc import Sequence
from contextlib import closing

from trogdor.agent.fault import InjectFault, Injection
from trogdor.agent.worker import Lives, Worker
from trogdor.claim.ledger import Ledger
from trogdor.claim.model import Claim
from trogdor.instant import Clock, FiringThread
from trogdor.platform.base import Fault, Plan, Scene
from trogdor.probe.expect import ProcessStopped
from trogdor.probe.sight import SEEN
from trogdor.spec.task import NoOpTaskSpec
from trogdor.topology import Node, Topology
from unit.agent.sees import SeesAtOnce

NODE = Node("here")
ANYTHING = ProcessStopped(pid=0, started=0)


async def live(ledger: Ledger, claims: Sequence[Claim], hold_s: float) -> None:
    """One worker for each claim: each begins once the one before is seen, all hold so long, then each ends."""
    clock, looked = Clock(), asyncio.Event()
    with closing(FiringThread(clock)) as firing:
        lives = Lives(clock, firing, lambda _: 0, lambda worker: looked.set() if _is_looked_at(worker) else None)
        workers = [_worker(claim, ledger, clock, firing) for claim in claims]
        for worker in workers:
            looked.clear()
            lives.begin(worker)
            await looked.wait()
        await asyncio.sleep(hold_s)
        for worker in workers:
            worker.stopping.set()
            await worker.done.wait()
            assert not worker.error, worker.error


def _is_looked_at(worker: Worker) -> bool:
    return worker.done.is_set() or worker.work.status["verdict"] == SEEN


def _worker(claim: Claim, ledger: Ledger, clock: Clock, firing: FiringThread) -> Worker:
    fault = Fault(
        spec=NoOpTaskSpec,
        facts=lambda spec, scene: None,
        plan=lambda spec, scene, facts, term: Plan([claim], [ANYTHING]),
        text=("", ""),
    )
    spec, scene = NoOpTaskSpec(), Scene(NODE, Topology({NODE.name: NODE}))
    injection = Injection(fault, spec, claim.term, scene, 0, ledger, clock, firing, lambda expect, term: SeesAtOnce())
    return Worker(claim.term, spec, InjectFault(injection), 0)
