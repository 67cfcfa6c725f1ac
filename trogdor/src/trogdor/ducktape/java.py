"""Java programs as ducktape services, on nodes of their own or of others."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ducktape.errors import TimeoutError
from ducktape.services.service import Service
from ducktape.utils.util import wait_until

from trogdor.deploy import daemon
from trogdor.ducktape.programs import setting
from trogdor.lab.recipes.jars import LOGGING, QUICK_START, Profile, class_path

_IS_JVM_OF = "grep -aqF {main} /tmp/hsperfdata_*/{pid}"


class JavaService(Service):  # type: ignore[misc]
    """One Java program a node. Everything of it is below PERSISTENT_ROOT, and exactly that is removed.

    A process is known by its pid file and start time, and by the main class that its JVM publishes (hsperfdata, which
    jcmd reads too): never by a pattern, so that nobody else's is touched.
    """

    PERSISTENT_ROOT: str
    MAIN: str
    PROFILE: Profile = "kafka-tools-4.1.0"
    HOME_SETTING = "kafka_home"
    HEAP_MB = 96

    def __init__(self, context: Any, num_nodes: int, nodes: Iterable[Any] | None = None) -> None:
        """``num_nodes`` of the cluster, or these ``nodes``, which stay their owners'."""
        super().__init__(context, num_nodes=0 if nodes is not None else num_nodes)
        self._borrows = nodes is not None
        if nodes is not None:
            self.nodes: list[Any] = list(nodes)

    @property
    def name(self) -> str:
        """What its files are called."""
        return os.path.basename(self.PERSISTENT_ROOT)

    @property
    def pid_file(self) -> str:
        return f"{self.PERSISTENT_ROOT}/{self.name}.pid"

    @property
    def log_path(self) -> str:
        """What the program logs."""
        return f"{self.PERSISTENT_ROOT}/{self.name}.log"

    @property
    def stdout_path(self) -> str:
        """What the program writes to its standard output."""
        return f"{self.PERSISTENT_ROOT}/{self.name}.stdout"

    @property
    def logs(self) -> dict[str, dict[str, Any]]:
        """What ducktape collects."""
        return {f"{self.name}_log": {"path": self.log_path, "collect_default": True}}

    def free(self) -> None:
        """Frees the nodes that are its own."""
        if self._borrows:
            self.nodes = []
        super().free()

    def java(
        self,
        node: Any,
        main: str,
        arguments: Sequence[str],
        options: Sequence[str] = (),
        profile: Profile | None = None,
    ) -> str:
        """The command that runs a main class on the node, a line of shell.

        The jars: those of the setting HOME_SETTING, an unpacked Kafka on the nodes; else those that Maven fetches here,
        where the node sees them, or copied to it.
        """
        jars = self._class_path(node, profile or self.PROFILE)
        words = [f"-Xmx{self.HEAP_MB}m", *QUICK_START, *LOGGING, *options, "-cp", jars, main, *arguments]
        return f"java {shlex.join(words)}"

    def _class_path(self, node: Any, profile: Profile) -> str:
        if home := setting(self.context, self.HOME_SETTING):
            return f"{home}/libs/*"
        jars = class_path(profile).removesuffix("/*")
        if node.account.ssh(f"[ -d {shlex.quote(jars)} ]", allow_fail=True) == 0:
            return f"{jars}/*"
        copied = f"{self.PERSISTENT_ROOT}/{profile}"
        if node.account.ssh(f"[ -e {copied} ]", allow_fail=True):
            node.account.ssh(f"mkdir -p {self.PERSISTENT_ROOT}")
            node.account.copy_to(jars, copied)
        return f"{copied}/*"

    def start_java(
        self,
        node: Any,
        arguments: Sequence[str],
        *,
        files: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        stdin: str = "/dev/null",
    ) -> None:
        """Write its files (path → text), and start MAIN; does not wait."""
        words = f"exec {self.java(node, self.MAIN, arguments, options)} <{stdin} >{self.stdout_path}"
        self.logger.info("%s: %s", self.who_am_i(node), words)
        daemon.start(
            node.account, f"sh -c {shlex.quote(words)}", pid_file=self.pid_file, log=self.log_path, files=files
        )

    def await_port(self, node: Any, port: int, timeout_sec: float) -> None:
        """Return when something on the node accepts connections to the port.

        Raises RuntimeError with the end of its log when the process ends, or ducktape's TimeoutError.
        """

        def accepts() -> bool:
            opened = f"timeout 5 bash -c 'exec 3<>/dev/tcp/{address_of(node)}/{port}'"
            if node.account.ssh(opened, allow_fail=True) == 0:
                return True
            if not daemon.runs(node.account, self.pid_file):
                raise RuntimeError(f"{self.who_am_i(node)} has ended:\n{self.log_end(node)}")
            return False

        wait_until(accepts, timeout_sec, 0.1, err_msg=lambda: f"no answer at port {port}:\n{self.log_end(node)}")

    def log_end(self, node: Any) -> str:
        """The last lines of its log."""
        return str(node.account.ssh_output(f"tail -n 30 {self.log_path}", allow_fail=True).decode(errors="replace"))

    def pids(self, node: Any) -> list[int]:
        """The pid of its process, if it runs and is a JVM with our main class."""
        pid = daemon.pid(node.account, self.pid_file)
        if pid is None or node.account.ssh(_IS_JVM_OF.format(main=self.MAIN, pid=pid), allow_fail=True):
            return []
        return [pid]

    def alive(self, node: Any) -> bool:
        """Whether its process runs."""
        return daemon.runs(node.account, self.pid_file)

    def wait_node(self, node: Any, timeout_sec: float | None = None) -> bool:
        """Whether its process has ended within the time."""
        try:
            wait_until(lambda: not self.alive(node), 600 if timeout_sec is None else timeout_sec, 0.1)
        except TimeoutError:
            return False
        return True

    def signal_node(self, node: Any, sig: int) -> None:
        """Send a signal to its process, if it runs."""
        for pid in self.pids(node):
            node.account.ssh(f"kill -{int(sig)} {pid}")

    def stop_node(self, node: Any, clean_shutdown: bool = True, **kwargs: Any) -> None:
        """End its process: SIGTERM, and after 20 s SIGKILL; at once without a clean shutdown."""
        daemon.stop(node.account, self.pid_file, signal="TERM" if clean_shutdown else "KILL")

    def clean_node(self, node: Any, **kwargs: Any) -> None:
        """End its process and remove PERSISTENT_ROOT; what is mounted below it stays."""
        daemon.stop(
            node.account, self.pid_file, signal="KILL", then=f"rm -rf --one-file-system -- {self.PERSISTENT_ROOT}"
        )


def address_of(node: Any) -> str:
    """How the other nodes reach a node."""
    return str(node.account.externally_routable_ip or node.account.hostname)
