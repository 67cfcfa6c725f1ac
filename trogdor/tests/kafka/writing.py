"""A producer that remembers which messages were acknowledged, and a reader that looks for each of them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trogdor.lab.lab import Lab
from trogdor.lab.node import Node
from trogdor.lab.recipes.kafka import Kafka

PROGRAM = Path(__file__).with_name("writer.py")
READ_TIMEOUT_S = 120.0


class Writing:
    """Messages numbered from 0, written with acks=all from the coordinator's node, which no fault here reaches."""

    def __init__(self, lab: Lab, kafka: Kafka) -> None:
        self._node: Node = lab.coordinator
        self._bootstrap = kafka.bootstrap
        self._topic = ""

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(PROGRAM), self._bootstrap, *arguments]

    def create(self, topic: str) -> None:
        """A topic of one partition with three replicas."""
        self._node.exec(self._command("create", topic), timeout=READ_TIMEOUT_S, check=True)

    @contextmanager
    def running(self, topic: str) -> Iterator["Writing"]:
        """Writes while the block runs, then until what is under way is acknowledged or given up."""
        self._topic = topic
        file = self._node.path(f"/tmp/{topic}.acknowledged")
        file.write_text("")
        process = self._node.popen(self._command("write", topic, f"/tmp/{topic}.acknowledged"), stdin=subprocess.PIPE)
        try:
            yield self
        finally:
            assert process.stdin is not None
            process.stdin.close()
            code = process.wait(READ_TIMEOUT_S)
            process.close()
        assert code == 0

    def acknowledged(self) -> int:
        """How many messages have been acknowledged so far."""
        return len(self._numbers())

    def _numbers(self) -> list[int]:
        text = self._node.path(f"/tmp/{self._topic}.acknowledged").read_text()
        return [int(line) for line in text.split("\n")[:-1]]

    def check_none_lost(self) -> None:
        """Reads the topic from its beginning: every acknowledged message must be there."""
        ran = self._node.exec(self._command("read", self._topic), timeout=READ_TIMEOUT_S, check=True)
        acknowledged, there = set(self._numbers()), set(json.loads(ran.stdout))
        assert acknowledged
        assert acknowledged - there == set()
