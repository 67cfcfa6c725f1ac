"""Faults of processes: stopped for a while, or killed and started again."""

from collections.abc import Collection
from typing import Any, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr

from trogdor.spec.base import Document, Spec, SpecError, require_known
from trogdor.spec.jackson import String, Strings
from trogdor.topology import Topology

MAX_PROCESSES = 16


class ProcessStopFaultSpec(Spec, name="org.apache.kafka.trogdor.fault.ProcessStopFaultSpec"):
    """Stops Java processes (SIGSTOP) and lets them go on at the end (SIGCONT)."""

    example: ClassVar[dict[str, Any]] = {"nodeNames": ["n1"], "javaProcessName": "kafka.Kafka"}

    node_names: Strings = Field((), description="The nodes on which to stop it.")
    java_process_name: String = Field("", description="The Java main class or jar: all of it, or its last word.")

    def target_nodes(self, topology: Topology) -> list[str]:
        return require_known(list(self.node_names), topology)

    def seen_from(self, topology: Topology) -> Collection[str]:
        return ()


class ProcessMatch(Document):
    """Which processes of a node: those that meet every field given."""

    name: StrictStr = Field("", max_length=255, description="The program's file name, such as etcd.")
    pattern: StrictStr = Field("", max_length=1000, description="A regular expression found in the command line.")
    pid_file: StrictStr = Field("", max_length=4096, description="A file on the node that holds the process id.")
    user: StrictStr = Field("", max_length=255, description="The name or number of the user it runs as.")
    java_main: StrictStr = Field("", max_length=1000, description="The Java main class or jar.")

    def __str__(self) -> str:
        return ", ".join(f"{field} {value}" for field, value in self.to_json().items())


class ProcessPauseFaultSpec(Spec, name="trogdor.fault.ProcessPauseFaultSpec"):
    """Stops processes found by name, command line, pid file, user or Java main class; they go on at the end."""

    example: ClassVar[dict[str, Any]] = {"nodeNames": ["n1"], "match": {"name": "etcd"}}

    node_names: tuple[StrictStr, ...] = Field(description="The nodes on which to stop it.")
    match: ProcessMatch = Field(description="Which processes; at least one field.")
    tree: StrictBool = Field(False, description="Their descendants too; at once where a control group is theirs alone.")
    max_processes: StrictInt = Field(MAX_PROCESSES, ge=1, le=1000, description="More matches than this: refused.")

    def check(self, topology: Topology) -> None:
        if not self.match.to_json():
            raise SpecError("match: at least one of name, pattern, pidFile, user, javaMain is needed")

    def target_nodes(self, topology: Topology) -> list[str]:
        return require_known(list(self.node_names), topology)

    def seen_from(self, topology: Topology) -> Collection[str]:
        return ()


class ProcessKillFaultSpec(Spec, name="trogdor.fault.ProcessKillFaultSpec"):
    """Kills processes; at the end each is started again as it was: program, arguments, environment, user, output."""

    example: ClassVar[dict[str, Any]] = {"nodeNames": ["n1"], "match": {"javaMain": "kafka.Kafka"}}

    node_names: tuple[StrictStr, ...] = Field(description="The nodes on which to kill it.")
    match: ProcessMatch = Field(description="Which processes; at least one field.")
    signal: Literal["KILL", "TERM", "INT", "QUIT", "ABRT", "SEGV"] = Field(
        "KILL", description="What it is sent; one that has not ended by the fault's end is killed then."
    )
    restart: Literal["same", "none"] = Field(
        "same", description="none: it is started again by whoever looks after it, or by nobody."
    )
    restart_command: tuple[StrictStr, ...] = Field(
        (), max_length=1000, description="What starts it again on the node, such as systemctl start kafka."
    )
    max_processes: StrictInt = Field(MAX_PROCESSES, ge=1, le=1000, description="More matches than this: refused.")

    def check(self, topology: Topology) -> None:
        if not self.match.to_json():
            raise SpecError("match: at least one of name, pattern, pidFile, user, javaMain is needed")
        if self.restart == "none" and self.restart_command:
            raise SpecError("restart, restartCommand: nobody is to start it again, and a command is: leave one out")

    def target_nodes(self, topology: Topology) -> list[str]:
        return require_known(list(self.node_names), topology)

    def seen_from(self, topology: Topology) -> Collection[str]:
        return ()
