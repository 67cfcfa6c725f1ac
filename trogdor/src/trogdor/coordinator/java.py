"""Agents of upstream's Java Trogdor: told of a worker at its instant, polled each second, TCP only, unverified."""

import asyncio
from typing import TYPE_CHECKING, Any

from trogdor.client import calls
from trogdor.client.calls import Call
from trogdor.coordinator.state import State, Worker
from trogdor.instant import NS_PER_MS
from trogdor.spec import Spec
from trogdor.wire.status import FaultStatus

if TYPE_CHECKING:
    from trogdor.coordinator.nodes import Agent

POLL_S = 1.0
NOTE = "java: TCP only, unverified, outlives its agent"


def refusal(node: str, spec: Spec) -> str:
    """Why a Java agent cannot be given this spec, naming node and field; empty when it can."""
    if spec.is_upstream:
        return ""
    return f"spec.class: node {node} has a Java agent, which does not know {spec.class_name}"


async def poll(agent: "Agent") -> None:
    """Looks at a Java agent each second, until it is lost or another answers in its place. Raises ClientError."""
    since_ms = None
    while True:
        asked_ns = agent.now_ns()
        status = await agent.connection.send(Call("GET", "/agent/status"), POLL_S * 3)
        if since_ms not in (None, status["serverStartMs"]):
            return
        since_ms = status["serverStartMs"]
        agent.heard()
        agent.polled({int(key): shown(worker) for key, worker in status.get("workers", {}).items()}, asked_ns)
        await asyncio.sleep(POLL_S)


async def create(agent: "Agent", worker: Worker) -> None:
    """Has a worker made, at its instant: a Java agent starts it at once. Raises ClientError.

    One that starts late is given a later start, so that it lasts as long as was asked.
    """
    task = worker.task
    spec = task.spec.at(task.spec.start_ms + worker.late_ns // NS_PER_MS) if worker.late_ns else task.spec
    if reason := refusal(worker.node, task.spec):
        agent.refuse(worker, reason)
    elif task.state in (State.PENDING, State.RUNNING):
        await agent.shipping(worker)
        await agent.connection.send(calls.create_worker(worker.id, task.id, spec.to_json()))
        agent.heard()


async def create_anew(agent: "Agent", worker: Worker) -> None:
    """Has a worker made that it was too late for before. Raises ClientError."""
    await agent.connection.send(calls.destroy_worker(worker.id))
    await create(agent, worker)


def shown(worker: dict[str, Any]) -> dict[str, Any]:
    """A Java agent's worker; a fault's status becomes ours, and says what can be known of it."""
    if ".fault." not in str(worker.get("spec", {}).get("class", "")) or "status" not in worker:
        return worker
    text = worker["status"] if isinstance(worker["status"], str) else ""
    status = FaultStatus(text=text, verdict=f"unverified: {NOTE}", via=(NOTE,))
    return {**worker, "status": status.to_json()}
