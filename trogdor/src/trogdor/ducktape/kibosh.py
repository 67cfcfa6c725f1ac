"""Kibosh as a ducktape service: a directory of a node served with faults, on nodes of other services."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from ducktape.services.service import Service
from ducktape.utils.util import wait_until

from trogdor.ducktape.programs import provide

CONTROL_FILE = "kibosh_control"
STOP_TIMEOUT_SEC = 60

_MAKE = """\
mkdir -p {persist} || exit 1
for each in {mirror} {target}; do [ -d $each ] || {{ echo $each >>{persist}/made && mkdir -p $each; }} || exit 1; done
"""
_CLEAN = """\
[ ! -e {persist}/made ] || while read -r each; do rmdir -- "$each" 2>/dev/null; done <{persist}/made
rm -rf -- {persist}
"""


class KiboshService(Service):  # type: ignore[misc]
    """Kibosh at ``mirror``, serving ``target``, on nodes that stay their owners'.

    Interface as kafkatest's KiboshService. Create it, and start it, before what uses ``mirror``: ducktape stops
    services in reverse. Everything of its own is below ``persist``.
    """

    def __init__(
        self,
        context: Any,
        nodes: Iterable[Any],
        target: str,
        mirror: str,
        persist: str = "/mnt/kibosh",
        command: str | None = None,
        wheels: str | None = None,
    ) -> None:
        """Takes no node of the cluster.

        target: the directory on each node that is served; mirror: where, with faults. One that is missing is made.
        command, wheels: what runs Kibosh there, see TrogdorService; globals ``kibosh_command``, ``kibosh_wheels``.
        Raises RuntimeError without a node.
        """
        super().__init__(context, num_nodes=0)
        self.nodes: list[Any] = list(nodes)
        if not self.nodes:
            raise RuntimeError("KiboshService needs at least one node")
        self.target, self.mirror, self.persist = target, mirror, persist
        self.control_path = f"{mirror}/{CONTROL_FILE}"
        self.log_path = f"{persist}/kibosh.log"
        self.logs = {"kibosh.log": {"path": self.log_path, "collect_default": True}}
        self._given = command, wheels
        self._commands: dict[str, str] = {}
        self._written: dict[str, str] = {}

    def free(self) -> None:
        """Frees nothing: the nodes are others'."""
        self.nodes = []
        super().free()

    def kibosh_running(self, node: Any) -> bool:
        """Whether Kibosh is mounted and answers on this node."""
        return bool(node.account.ssh(f"test -e {shlex.quote(self.control_path)}", allow_fail=True) == 0)

    def start_node(self, node: Any, **kwargs: Any) -> None:
        """Mounts Kibosh; returns when it can be used."""
        account, where = (
            node.account,
            {name: shlex.quote(getattr(self, name)) for name in ("mirror", "target", "persist")},
        )
        account.ssh(_MAKE.format(**where))
        command = provide(self.context, account, "kibosh", f"{self.persist}/opt", *self._given)
        self._commands[node.name] = command
        options = f"--pidfile {self.persist}/pidfile --log {self.log_path} --control-mode 666 --allow-other"
        account.ssh(f"{command} {where['mirror']} --target {where['target']} {options}")

    def wait_node(self, node: Any, timeout_sec: float | None = None) -> bool:
        """Whether Kibosh is no longer mounted."""
        return not self.kibosh_running(node)

    def stop_node(self, node: Any, **kwargs: Any) -> None:
        """Writes back and unmounts. Raises ducktape's TimeoutError when it stays mounted."""
        if node.name in self._commands and self.kibosh_running(node):
            node.account.ssh(f"{self._commands[node.name]} umount {shlex.quote(self.mirror)}")
            wait_until(
                lambda: self.wait_node(node),
                timeout_sec=STOP_TIMEOUT_SEC,
                backoff_sec=0.1,
                err_msg=f"Kibosh stays mounted at {self.mirror} on {node.name}",
            )

    def clean_node(self, node: Any, **kwargs: Any) -> None:
        """Unmounts, and removes ``persist`` and the directories that it made, if they are empty."""
        self.stop_node(node)
        node.account.ssh(_CLEAN.format(persist=shlex.quote(self.persist)))

    def set_faults(self, node: Any, specs: Iterable[Any]) -> None:
        """Puts these faults in the place of all others; in force on return.

        specs: with ``kibosh_message``, as FilesUnreadableFaultSpec has it, or the control file's JSON of a fault.
        Raises RemoteCommandError with every problem, and nothing has changed.
        """
        faults = [dict(spec) if isinstance(spec, Mapping) else spec.kibosh_message for spec in specs]
        document = shlex.quote(json.dumps({"faults": faults}))
        node.account.ssh(f"{self._commands[node.name]} set {shlex.quote(self.mirror)} {document}")
        self._written[node.name] = json.dumps({"faults": faults} if faults else {})

    def get_fault_json(self, node: Any) -> str:
        """The faults in force, as JSON text: letter for letter as ``set_faults`` gave them, as long as they are these.

        As the original's control file, which hands back what was written to it.
        """
        text = str(node.account.ssh_output(f"cat {shlex.quote(self.control_path)}").decode()).strip()
        written = self._written.get(node.name)
        same = written is not None and json.loads(written).get("faults", []) == json.loads(text)["faults"]
        return written if written is not None and same else text
