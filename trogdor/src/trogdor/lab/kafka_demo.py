"""Kafka's controller is suspended while a producer writes: who takes over, and is any acknowledged write lost?"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from trogdor.lab.lab import Lab
from trogdor.lab.recipes.kafka import Kafka
from trogdor.lab.recipes.kafka_ledger import Ledger

Say = Callable[[str, str], None]

TOPIC = "ledger"
TASK = "controller"
PATIENCE_S = 120.0
WARM_UP = 100
"""Acknowledged messages before the fault, and after the last recovery."""

_POLL_S = 0.2


@dataclass
class Report:
    """What was seen; `problems` is empty if all went well."""

    controller: str = ""
    epoch: int = 0
    new_controller: str = ""
    new_epoch: int = 0
    found: list[dict[str, Any]] = field(default_factory=list)
    """Whom the fault hit, and how that was found."""
    verdict: str = ""
    acknowledged: int = 0
    during_fault: int = 0
    """Messages acknowledged while the controller was suspended."""
    lost: list[int] = field(default_factory=list)
    """Numbers of messages that were acknowledged, and that are not there."""
    problems: list[str] = field(default_factory=list)


def run(say: Say, *, duration_ms: int = 10_000) -> Report:
    """Three brokers that are controllers too, on three nodes; everything is gone at the end. Raises LabError."""
    report = Report()
    began = time.monotonic()
    with Lab(nodes=3) as lab, Kafka(lab) as kafka:
        say("kafka", f"3 brokers are ready, {time.monotonic() - began:.1f} s after the start")
        lab.start_daemons()
        ledger = kafka.ledger(TOPIC)
        report.controller, report.epoch = controller(lab, kafka.bootstrap)
        say(report.controller, f"is the active controller, epoch {report.epoch}")
        with ledger.running():
            _await(lambda: len(ledger.acknowledged()) >= WARM_UP, "messages are acknowledged")
            say("writes", "a producer writes with acks=all, 200 messages a second")
            _suspend(lab, kafka.bootstrap, ledger, report, duration_ms=duration_ms, say=say)
            before = len(ledger.acknowledged())
            _await(lambda: len(ledger.acknowledged()) >= before + WARM_UP, "messages are acknowledged afterwards")
        report.acknowledged, report.lost = len(ledger.acknowledged()), ledger.lost()
        say("writes", f"{report.acknowledged} acknowledged, {len(report.lost)} of them lost")
    if report.lost:
        report.problems.append(f"{len(report.lost)} acknowledged messages are lost: {report.lost[:10]} …")
    if report.new_controller in ("", report.controller):
        report.problems.append(f"no other controller than {report.controller} was seen")
    return report


def _suspend(lab: Lab, bootstrap: str, ledger: Ledger, report: Report, *, duration_ms: int, say: Say) -> None:
    client = lab.client()
    spec = {"class": "ControllerSuspendFaultSpec", "durationMs": duration_ms, "bootstrapServers": bootstrap}
    before = len(ledger.acknowledged())
    client.create_task(TASK, spec)
    _await(lambda: client.task(TASK)["state"] != "PENDING", "the fault starts")
    say("task", f"suspends the controller for {duration_ms / 1000:g} s")
    others = ",".join(server for server in bootstrap.split(",") if not server.startswith(report.controller))
    while client.task(TASK)["state"] in ("PENDING", "RUNNING", "STOPPING"):
        name, epoch = controller(lab, others)
        if not report.new_controller and name and name != report.controller:
            report.new_controller, report.new_epoch = name, epoch
            say(name, f"is the controller now, epoch {epoch}")
        time.sleep(_POLL_S)
    report.during_fault = len(ledger.acknowledged()) - before
    task = client.task(TASK)
    if task.get("error"):
        report.problems.append(str(task["error"]))
    status = task.get("status")
    if isinstance(status, dict):
        report.found = status.get("found", [])
        report.verdict = ", ".join(str(_verdict(child.get("status"))) for child in client.children(TASK).values())
    say("task", f"is over; {report.during_fault} messages were acknowledged meanwhile; the fault was {report.verdict}")


def _verdict(status: Any) -> Any:
    return status.get("verdict") if isinstance(status, dict) else None


def controller(lab: Lab, bootstrap: str) -> tuple[str, int]:
    """The active controller's node and epoch, as these brokers know it now; empty where they know none."""
    question = {"resolve": "kafka", "role": "controller", "options": {"bootstrapServers": bootstrap}}
    asked = json.dumps({"topology": lab.topology(), "questions": [question]})
    told = lab.coordinator.exec([sys.executable, "-m", "trogdor.resolve"], input=asked, check=True)
    answer = json.loads(told.stdout)["answers"][0]
    return (answer["nodes"][0], answer["epoch"]) if "nodes" in answer else ("", 0)


def _await(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE_S:.0f} s: {what}")
        time.sleep(_POLL_S)
