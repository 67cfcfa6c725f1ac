"""What ``deploy/`` offers fits the program: its configuration is read, its command lines are understood."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from trogdor.cli.commands import ENTRIES, load
from trogdor.topology import topology_of

DEPLOY = Path(__file__).parents[3] / "deploy"
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


def pods() -> Iterator[dict[str, Any]]:
    yield from (each["spec"]["template"]["spec"] for each in OBJECTS if "template" in each.get("spec", {}))


def understood(words: list[str]) -> dict[str, Any]:
    """The parameters that the command line gives. Raises click's UsageError."""
    command, *arguments = words
    entry = next(entry for entry in ENTRIES if entry.name == command)
    with load(entry).make_context(command, arguments) as context:
        parameters: dict[str, Any] = context.params
        return parameters


def test_kubernetes_starts_what_there_is() -> None:
    config = next(each["data"]["trogdor.json"] for each in OBJECTS if each["kind"] == "ConfigMap")
    topology = topology_of(json.loads(config))
    assert topology.agents() == ["worker-1", "worker-2", "worker-3"]
    containers = [container for pod in pods() for container in pod["containers"]]
    told = {container["args"][0]: understood(container["args"]) for container in containers}
    assert told.keys() == {"agent", "coordinator"}
    assert told["agent"]["node"] == "$(NODE_NAME)"
    coordinator = topology.nodes[told["coordinator"]["node"]]
    service = next(each for each in OBJECTS if each["kind"] == "Service")
    assert coordinator.coordinator_port == service["spec"]["ports"][0]["port"]
    assert coordinator.hostname == f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"


def test_kubernetes_gives_what_faults_and_their_end_need() -> None:
    agent = next(pod for pod in pods() if pod["containers"][0]["name"] == "agent")
    assert agent["hostNetwork"]
    assert agent["hostPID"]
    assert agent["containers"][0]["securityContext"]["privileged"]
    for pod in pods():
        assert pod["terminationGracePeriodSeconds"] > 5, "SIGTERM ends every fault within 5 s"
        mounts = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts == {"/etc/trogdor", "/var/lib/trogdor"}, "the journal outlives its container"


@pytest.mark.parametrize("unit", sorted(DEPLOY.glob("*.service")), ids=lambda unit: unit.stem)
def test_systemd_starts_what_there_is(unit: Path) -> None:
    settings = dict(line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line and line[0] != "#")
    words = shlex.split(settings["ExecStart"])
    assert words[:2] == ["/usr/bin/env", "trogdor"]
    assert understood(words[2:])["node"] == "%i"
    assert int(settings["TimeoutStopSec"]) > 5, "SIGTERM ends every fault within 5 s"
