"""Trogdor's own daemons on a lab's nodes."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trogdor.lab.http import answers
from trogdor.lab.node import Node, NodeProcess
from trogdor.lab.plan import COORDINATOR
from trogdor.lab.runtime import LabError

if TYPE_CHECKING:
    from trogdor.lab.lab import Lab

AGENT_PORT, COORDINATOR_PORT = 8888, 8889
TOPOLOGY_FILE = "/var/lib/trogdor/topology.json"
COORDINATOR_SOCKET = "coordinator.sock"
_SOURCE = Path(__file__).resolve().parents[2]
_READY_TIMEOUT_S = 60.0
_POLL_S = 0.01


def topology(lab: Lab) -> dict[str, Any]:
    """The lab as upstream's configuration file has it: an agent on each node, the coordinator on its own.

    Any command is allowed: nobody reaches these daemons who may not run commands in the lab anyway.
    """
    nodes: dict[str, dict[str, Any]] = {name: {"trogdor.agent.port": AGENT_PORT, "tags": ["lab"]} for name in lab.nodes}
    nodes[COORDINATOR] = {"trogdor.coordinator.port": COORDINATOR_PORT}
    for name, node in nodes.items():
        node.update({"hostname": name, "trogdor.external.commands": ["*"]})
    return {"platform": "org.apache.kafka.trogdor.basic.BasicPlatform", "nodes": nodes}


def start(lab: Lab, names: Sequence[str]) -> dict[str, NodeProcess]:
    """Start the daemons of the nodes named, an agent or the coordinator; returns them once all are in touch.

    Raises LabError, with the end of the log, when one ends or does not answer within a minute.
    """
    socket_link = lab.runtime / COORDINATOR_SOCKET
    if not socket_link.is_symlink():
        socket_link.symlink_to(lab.coordinator.path(f"/var/lib/trogdor/{COORDINATOR}/{COORDINATOR_SOCKET}"))
    text = json.dumps(topology(lab), indent=2)
    started: dict[str, NodeProcess] = {}
    for name in names:
        node = lab.node(name)
        node.path(TOPOLOGY_FILE).write_text(text)
        started[name] = _start_one(node)
    until = time.monotonic() + _READY_TIMEOUT_S
    for name, process in started.items():
        _await_answer(lab.node(name), process, until)
    if COORDINATOR in started:
        _await_meeting(lab, started.keys() - {COORDINATOR}, until)
    return started


def _await_meeting(lab: Lab, names: Collection[str], until: float) -> None:
    """Returns once the coordinator is in touch with the agents of these nodes; until then it would call them down."""
    client = lab.client()
    while apart := [name for name, node in client.nodes().items() if name in names and not node["up"]]:
        if time.monotonic() > until:
            raise LabError(f"the coordinator is not in touch with the agents of {', '.join(apart)}")
        time.sleep(_POLL_S)


def _start_one(node: Node) -> NodeProcess:
    python_path = os.pathsep.join(filter(None, [str(_SOURCE), os.environ.get("PYTHONPATH", "")]))
    return node.popen(
        [sys.executable, "-m", "trogdor", _daemon(node), "-c", TOPOLOGY_FILE, "-n", node.name],
        log=_daemon(node),
        env={**os.environ, "PYTHONPATH": python_path},
    )


def _daemon(node: Node) -> str:
    return "coordinator" if node.name == COORDINATOR else "agent"


def _await_answer(node: Node, process: NodeProcess, until: float) -> None:
    daemon = _daemon(node)
    port = COORDINATOR_PORT if daemon == "coordinator" else AGENT_PORT
    while not answers(node, port, f"/{daemon}/status"):
        code = process.poll()
        if code is not None:
            raise LabError(f"the {daemon} on {node.name} ended with {code}:\n{node.log(daemon)[-2000:]}")
        if time.monotonic() > until:
            raise LabError(f"the {daemon} on {node.name} does not answer:\n{node.log(daemon)[-2000:]}")
        time.sleep(_POLL_S)
