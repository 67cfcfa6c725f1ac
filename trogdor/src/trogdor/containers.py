"""Containers, as the Docker Engine API tells of them over its Unix socket. Source: Docker Engine API, version 1.41."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

DEFAULT_SOCKET = "/var/run/docker.sock"
TIMEOUT_S = 10.0
PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
_MAX_BYTES = 16 << 20


class EngineError(Exception):
    """The engine cannot be asked, or has no such container running; says what to do."""


@dataclass(frozen=True)
class Container:
    """A container that runs. ``pid`` is its first process's, as the engine's machine counts."""

    name: str
    pid: int
    service: str
    """Its service in the compose project; empty outside of one."""


class Engine:
    """A Docker engine, or what speaks its API (Podman does), on this machine."""

    def __init__(self, path: str) -> None:
        self.path = path

    @classmethod
    def found(cls) -> Engine:
        """The engine of $DOCKER_HOST, or at /var/run/docker.sock. Raises EngineError."""
        host = os.environ.get("DOCKER_HOST") or f"unix://{DEFAULT_SOCKET}"
        if not host.startswith("unix://"):
            raise EngineError(f"DOCKER_HOST={host}: only containers of this machine can be entered; unix:// is wanted")
        return cls(host.removeprefix("unix://"))

    def container(self, name: str) -> Container:
        """A container by name or id. Raises EngineError when there is none, or it does not run."""
        found = self._get(f"/containers/{quote(name, safe='')}/json")
        pid = found["State"]["Pid"]
        if not found["State"]["Running"] or pid <= 0:
            raise EngineError(f"container {name} does not run: it is {found['State'].get('Status', 'stopped')}")
        labels = found.get("Config", {}).get("Labels") or {}
        return Container(found["Name"].lstrip("/"), pid, labels.get(SERVICE, ""))

    def project(self, name: str) -> Sequence[Container]:
        """The running containers of a compose project, by name. Raises EngineError when there is none."""
        filters = json.dumps({"label": [f"{PROJECT}={name}"], "status": ["running"]})
        found = self._get(f"/containers/json?{urlencode({'filters': filters})}")
        if not found:
            raise EngineError(
                f"no container of a compose project {name!r} runs; `docker compose ls` names the projects"
            )
        return sorted((self.container(each["Id"]) for each in found), key=lambda container: container.name)

    def _get(self, path: str) -> Any:
        connection = http.client.HTTPConnection("localhost", timeout=TIMEOUT_S)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(TIMEOUT_S)
        try:
            connection.sock.connect(self.path)
            connection.request("GET", path)
            answer = connection.getresponse()
            status, body = answer.status, json.loads(answer.read(_MAX_BYTES))
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise EngineError(f"no container engine answers at {self.path}: {error}") from None
        finally:
            connection.close()
        if status != http.client.OK:
            said = body.get("message", status) if isinstance(body, dict) else status
            raise EngineError(f"the container engine at {self.path} says: {said}")
        return body
