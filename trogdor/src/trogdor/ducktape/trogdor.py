"""Trogdor as a ducktape service: agents on other services' nodes, a coordinator on a node of its own."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from ducktape.services.service import Service
from ducktape.utils.util import wait_until

from trogdor.client import AgentClient, Client, ClientError, NotFound
from trogdor.deploy import daemon
from trogdor.ducktape.fault import fault
from trogdor.ducktape.programs import provide


class TrogdorService(Service):  # type: ignore[misc]
    """Agents on nodes that stay their owners', and a coordinator on the one node that is this service's own.

    Interface and constants are those of kafkatest's TrogdorService. Everything on a node is below PERSISTENT_ROOT;
    processes are ended by pid and start time. Create it after the services whose nodes it is to share:
    ducktape stops services in reverse, so that every fault has ended before they are stopped.
    """

    PERSISTENT_ROOT = "/mnt/trogdor"
    COORDINATOR_LOG = f"{PERSISTENT_ROOT}/trogdor-coordinator.log"
    AGENT_LOG = f"{PERSISTENT_ROOT}/trogdor-agent.log"
    CONFIG_PATH = f"{PERSISTENT_ROOT}/trogdor.conf"
    STATE_DIR = f"{PERSISTENT_ROOT}/state"
    DEFAULT_AGENT_PORT = 8888
    DEFAULT_COORDINATOR_PORT = 8889
    START_TIMEOUT_SEC = 120

    logs = {
        "trogdor_coordinator_log": {"path": COORDINATOR_LOG, "collect_default": True},
        "trogdor_agent_log": {"path": AGENT_LOG, "collect_default": True},
    }

    def __init__(
        self,
        context: Any,
        agent_nodes: Iterable[Any] | None = None,
        client_services: Iterable[Any] | None = None,
        agent_port: int = DEFAULT_AGENT_PORT,
        coordinator_port: int = DEFAULT_COORDINATOR_PORT,
        command: str | None = None,
        wheels: str | None = None,
    ) -> None:
        """Takes one node of the cluster, for the coordinator.

        agent_nodes, client_services: where agents run: these nodes, and those of these services.
        command: what runs Trogdor on a node, a line of shell; by default the global ``trogdor_command``
            (``ducktape --globals``), $TROGDOR_COMMAND, or ``trogdor`` where the node has it.
        wheels: a directory of wheels to install it from, below PERSISTENT_ROOT; by default ``trogdor_wheels``,
            $TROGDOR_WHEELS, or what pip makes here, for nodes that have no ``trogdor``.
        Raises RuntimeError when there is no node for an agent.
        """
        shared = [node for service in client_services or () for node in service.nodes] + list(agent_nodes or ())
        if not shared:
            raise RuntimeError("TrogdorService needs nodes for its agents: agent_nodes or client_services")
        super().__init__(context, num_nodes=1)
        self.nodes: list[Any]
        self.coordinator_node = self.nodes[0]
        self.nodes += {node.name: node for node in shared}.values()
        self.agent_port = agent_port
        self.coordinator_port = coordinator_port
        self._given = command, wheels
        self._client: Client | None = None

    def free(self) -> None:
        """Frees the coordinator's node; the others are not ours to free."""
        if self.coordinator_node is not None:
            self.nodes = [self.coordinator_node]
            self.coordinator_node = None
            super().free()

    def is_coordinator(self, node: Any) -> bool:
        """Whether the coordinator runs on this node."""
        return bool(node == self.coordinator_node)

    def _config(self) -> dict[str, Any]:
        nodes = {node.name: self._config_of(node) for node in self.nodes}
        return {"platform": "org.apache.kafka.trogdor.basic.BasicPlatform", "nodes": nodes}

    def _config_of(self, node: Any) -> dict[str, Any]:
        port = (
            {"trogdor.coordinator.port": self.coordinator_port}
            if self.is_coordinator(node)
            else {"trogdor.agent.port": self.agent_port}
        )
        return {"hostname": node.account.ssh_hostname, **port}

    def start(self, **kwargs: Any) -> None:
        """Starts every daemon, and returns once all answer and the coordinator has heard of every agent."""
        super().start(**kwargs)
        for node in self.nodes:
            self._await_answer(node)
        agents = {node.name for node in self.nodes if not self.is_coordinator(node)}
        wait_until(
            lambda: agents <= {name for name, known in self.client.nodes().items() if known["up"]},
            timeout_sec=self.START_TIMEOUT_SEC,
            backoff_sec=0.1,
            err_msg=lambda: f"the coordinator does not reach every agent: {self.client.nodes()}",
        )

    def start_node(self, node: Any, **kwargs: Any) -> None:
        """Starts the daemon of this node; ``start`` waits for its answer."""
        role = self._role(node)
        program = provide(self.context, node.account, "trogdor", f"{self.PERSISTENT_ROOT}/opt", *self._given)
        command = f"{program} {role} -c {self.CONFIG_PATH} -n {shlex.quote(node.name)} --state {self.STATE_DIR}"
        self.logger.info("%s: %s", self.who_am_i(node), command)
        log = self.COORDINATOR_LOG if self.is_coordinator(node) else self.AGENT_LOG
        files = {self.CONFIG_PATH: json.dumps(self._config(), indent=2)}
        daemon.start(node.account, command, pid_file=self._pid_file(node), log=log, files=files)

    def _role(self, node: Any) -> str:
        return "coordinator" if self.is_coordinator(node) else "agent"

    def _pid_file(self, node: Any) -> str:
        return f"{self.PERSISTENT_ROOT}/{self._role(node)}.pid"

    def _await_answer(self, node: Any) -> None:
        def answers() -> bool:
            try:
                self._client_of(node).status()
            except ClientError:
                if not daemon.runs(node.account, self._pid_file(node)):
                    raise
                return False
            return True

        try:
            wait_until(answers, timeout_sec=self.START_TIMEOUT_SEC, backoff_sec=0.1, err_msg="it does not answer")
        except Exception as error:
            log = self.COORDINATOR_LOG if self.is_coordinator(node) else self.AGENT_LOG
            said = node.account.ssh_output(f"tail -n 20 {log}", allow_fail=True).decode(errors="replace")
            message = f"the {self._role(node)} on {node.name} did not start: {error}; its log ends so:\n{said}"
            raise RuntimeError(message) from error

    def _client_of(self, node: Any) -> Client | AgentClient:
        host = node.account.ssh_hostname
        if self.is_coordinator(node):
            return self.client
        return AgentClient(f"{host}:{self.agent_port}")

    @property
    def client(self) -> Client:
        """The coordinator's client, with everything that upstream's interface lacks."""
        if self._client is None:
            self._client = Client(f"{self.coordinator_node.account.ssh_hostname}:{self.coordinator_port}")
        return self._client

    def wait_node(self, node: Any, timeout_sec: float | None = None) -> bool:
        """Whether the daemon of this node has ended."""
        return not daemon.runs(node.account, self._pid_file(node))

    def stop_node(self, node: Any, **kwargs: Any) -> None:
        """Ends the daemon of this node, and with it the faults that it holds."""
        daemon.stop(node.account, self._pid_file(node))

    def clean_node(self, node: Any, **kwargs: Any) -> None:
        """Ends the daemon and removes PERSISTENT_ROOT, where it kept everything."""
        daemon.stop(node.account, self._pid_file(node), then=f"rm -rf -- {self.PERSISTENT_ROOT}")

    def create_task(self, id: str, spec: Any) -> TrogdorTask:
        """Creates a task of a spec object, or of JSON. Raises Refused with every problem of it."""
        message = _message(spec)
        self.logger.info("%s: task %s: %s", self.who_am_i(), id, message)
        self.client.create_task(id, message)
        return TrogdorTask(id, self)

    def stop_task(self, id: str) -> None:
        """Stops a task; one that is unknown or done is no error."""
        self.client.stop_task(id)

    def tasks(self) -> dict[str, Any]:
        """``{"tasks": {id: {"spec", "state", …}}}``."""
        return {"tasks": self.client.tasks()}

    def fault(
        self, spec: Any, *, name: str = "fault", timeout_sec: float = 60, unverified: bool = False
    ) -> AbstractContextManager[str]:
        """``with trogdor.fault(spec):`` the block runs once the fault is seen, what follows it once it is seen gone.

        See trogdor.ducktape.fault.fault for its errors.
        """
        return fault(self.client, _message(spec), name=name, timeout_sec=timeout_sec, unverified=unverified)


def _message(spec: Any) -> dict[str, Any]:
    return dict(spec) if isinstance(spec, Mapping) else dict(spec.message)


class TrogdorTask:
    """A task that was created."""

    PENDING_STATE = "PENDING"
    RUNNING_STATE = "RUNNING"
    STOPPING_STATE = "STOPPING"
    DONE_STATE = "DONE"

    def __init__(self, id: str, trogdor: TrogdorService) -> None:
        self.id = id
        self.trogdor = trogdor

    def __repr__(self) -> str:
        return f"TrogdorTask({self.id!r})"

    def task_state_or_error(self) -> tuple[str | None, str | None]:
        """``(state, None)``, or ``(None, error)``. Raises RuntimeError when the coordinator knows no such task."""
        try:
            task = self.trogdor.client.task(self.id)
        except NotFound:
            raise RuntimeError(f"the coordinator knows no task {self.id}") from None
        error = task.get("error")
        return (None, error) if error else (task["state"], None)

    def _is(self, wanted: str) -> bool:
        state, error = self.task_state_or_error()
        if error:
            raise RuntimeError(f"task {self.id} failed: {error}")
        return state == wanted

    def done(self) -> bool:
        """Whether it has ended. Raises RuntimeError with the task's error."""
        return self._is(self.DONE_STATE)

    def running(self) -> bool:
        """Whether it runs. Raises RuntimeError with the task's error."""
        return self._is(self.RUNNING_STATE)

    def stop(self) -> None:
        """Stops it. Raises RuntimeError with the task's error."""
        if not self.done():
            self.trogdor.stop_task(self.id)

    def wait_for_done(self, timeout_sec: float = 360) -> None:
        """Returns when it has ended. Raises RuntimeError with its error, ducktape's TimeoutError."""
        wait_until(self.done, timeout_sec=timeout_sec, backoff_sec=0.1, err_msg=f"task {self.id} has not ended")
