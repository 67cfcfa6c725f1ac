"""Kafka's JmxTool as a ducktape service: samples of MBeans of a JVM on the same node."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import Any

from ducktape.utils.util import wait_until

from trogdor.ducktape.java import JavaService

START_TIMEOUT_SEC = 120


class JmxTool(JavaService):
    """Reads attributes of MBeans again and again, on nodes of others.

    Its figures are named as in kafkatest: ``MBEAN:ATTRIBUTE``.
    """

    PERSISTENT_ROOT = "/mnt/jmx_tool"
    MAIN = "org.apache.kafka.tools.JmxTool"

    def __init__(
        self,
        context: Any,
        nodes: Iterable[Any],
        jmx_object_names: Sequence[str],
        jmx_attributes: Sequence[str] = (),
        jmx_poll_ms: int = 1000,
        jmx_port: int = 9192,
    ) -> None:
        """jmx_object_names: MBeans, in full. jmx_attributes: all of them, unless said.
        jmx_port: the JVM's, on loopback.
        """
        super().__init__(context, 0, nodes)
        self.jmx_object_names, self.jmx_attributes = list(jmx_object_names), list(jmx_attributes)
        self.jmx_poll_ms, self.jmx_port = jmx_poll_ms, jmx_port

    def start(self, **kwargs: Any) -> None:
        """Starts it on each node, and returns once each has a sample."""
        super().start(**kwargs)
        for node in self.nodes:
            wait_until(
                lambda node=node: self._has_sample(node),
                START_TIMEOUT_SEC,
                0.1,
                err_msg=lambda node=node: f"no sample on {node.name}:\n{self.log_end(node)}",
            )

    def start_node(self, node: Any, **kwargs: Any) -> None:
        """Starts it; it waits for the MBeans."""
        url = f"service:jmx:rmi:///jndi/rmi://127.0.0.1:{self.jmx_port}/jmxrmi"
        words = ["--jmx-url", url, "--reporting-interval", str(self.jmx_poll_ms), "--wait"]
        for name in self.jmx_object_names:
            words += ["--object-name", name]
        if self.jmx_attributes:
            words += ["--attributes", ",".join(self.jmx_attributes)]
        self.start_java(node, words)

    def _has_sample(self, node: Any) -> bool:
        if not self.alive(node):
            raise RuntimeError(f"{self.who_am_i(node)} has ended:\n{self.log_end(node)}")
        return bool(self.samples(node))

    def samples(self, node: Any) -> list[dict[str, float]]:
        """What was read so far: ``time``, in ms, and the figures by name."""
        written = node.account.ssh_output(f"cat {self.stdout_path}", allow_fail=True).decode(errors="replace")
        rows = [row for row in csv.reader(written.split("\n")[:-1]) if len(row) > 1]
        if not rows or rows[0][0] != "time":
            return []
        return [dict(zip(rows[0], map(float, row), strict=True)) for row in rows[1:]]

    @property
    def maximum_jmx_value(self) -> dict[str, float]:
        """The largest of each figure, on whatever node."""
        return {name: max(values) for name, values in self._values().items()}

    @property
    def average_jmx_value(self) -> dict[str, float]:
        """The mean of each figure over all samples of all nodes."""
        return {name: sum(values) / len(values) for name, values in self._values().items()}

    def _values(self) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for sample in (sample for node in self.nodes for sample in self.samples(node)):
            for name, value in sample.items():
                if name != "time":
                    found.setdefault(name, []).append(value)
        return found
