"""A ledger of acknowledged messages: are they all there afterwards?

    ledger = kafka.ledger("kept")
    with ledger.running():
        …
    lost = ledger.lost()

Messages are numbered and written with acks=all; each number is noted once it is acknowledged. The writer and the reader
are processes of the node (``python -m trogdor.lab.recipes.kafka_ledger``): their network is the node's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from confluent_kafka import Consumer, TopicPartition

    from trogdor.lab.node import Node

MODULE = "trogdor.lab.recipes.kafka_ledger"
SOURCE = Path(__file__).resolve().parents[3]
PER_SECOND = 200
DELIVERY_TIMEOUT_MS = 15_000
"""For so long a message is waited for that a broker has which was suspended: those after it wait, too."""

MOVING_S = 60.0
"""For so long the reader puts up with a leader that moves."""

PATIENCE_S = 120.0
MAX_A_RUN = 1_000_000_000


class Ledger:
    """Numbered messages in a topic of one partition and three replicas, two of which must have each message."""

    def __init__(self, node: Node, bootstrap: str, topic: str) -> None:
        self._node, self._bootstrap, self._topic = node, bootstrap, topic
        self._sent, self._acknowledged = f"/tmp/{topic}.sent", f"/tmp/{topic}.acknowledged"
        self._runs = 0

    def _command(self, verb: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", MODULE, verb, self._bootstrap, self._topic, *arguments]

    def create(self) -> None:
        """Make the topic. Raises subprocess.CalledProcessError."""
        for notes in (self._sent, self._acknowledged):
            self._node.path(notes).write_text("")
        self._node.exec(self._command("create"), timeout=PATIENCE_S, check=True, env=_environment())

    @contextmanager
    def running(self) -> Iterator[Ledger]:
        """Write while the block runs, then until what is under way is acknowledged or given up.

        May be called again and again: no number is used twice, so that none is found in another's place.
        """
        first, self._runs = self._runs * MAX_A_RUN, self._runs + 1
        command = self._command("write", self._sent, self._acknowledged, str(first))
        process = self._node.popen(command, stdin=subprocess.PIPE, log="ledger", env=_environment())
        try:
            yield self
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(PATIENCE_S)
            process.close()

    def acknowledged(self) -> list[int]:
        """The numbers acknowledged so far, in all runs, in that order."""
        return self._read(self._acknowledged)

    def sent(self) -> list[int]:
        """The numbers that the producer was given so far, in all runs."""
        return self._read(self._sent)

    def _read(self, notes: str) -> list[int]:
        return [int(line) for line in self._node.path(notes).read_text().split("\n")[:-1]]

    def lost(self) -> list[int]:
        """Reads the topic from its beginning: the acknowledged numbers that are not there."""
        ran = self._node.exec(self._command("read"), timeout=PATIENCE_S, check=True, env=_environment())
        return sorted(set(self.acknowledged()) - set(json.loads(ran.stdout)))


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])}


def create(bootstrap: str, topic: str) -> None:
    """One partition, three replicas, two of them needed."""
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    admin.create_topics([NewTopic(topic, 1, 3, config={"min.insync.replicas": "2"})])[topic].result(60)


def write(bootstrap: str, topic: str, sent_notes: str, acknowledged_notes: str, first: str) -> None:
    """Writes numbers from ``first`` on until standard input ends; notes each when it is sent, and acknowledged."""
    from confluent_kafka import KafkaError, Message, Producer

    ended = threading.Event()

    def watch() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=watch, daemon=True).start()
    producer = Producer(
        {
            "bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "log_level": 2,
            "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
        }
    )  # fmt: skip
    with open(sent_notes, "a", buffering=1) as sent, open(acknowledged_notes, "a", buffering=1) as acknowledged:

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                acknowledged.write(f"{int(message.value() or b'')}\n")

        number = int(first)
        while not ended.wait(1 / PER_SECOND):
            producer.produce(topic, str(number).encode(), on_delivery=delivered)
            sent.write(f"{number}\n")
            producer.poll(0)
            number += 1
        producer.flush(DELIVERY_TIMEOUT_MS / 1000 + 5)


def read(bootstrap: str, topic: str) -> None:
    """Prints every number in the topic, as a JSON list."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "ledger", "log_level": 2})
    first, end = _extent(consumer, TopicPartition(topic, 0))
    consumer.assign([TopicPartition(topic, 0, first)])
    numbers: list[int] = []
    position = first
    while position < end:
        for message in consumer.consume(500, 1):
            if message.error() is None:
                numbers.append(int(message.value() or b""))
                position = (message.offset() or 0) + 1
    consumer.close()
    print(json.dumps(numbers))


def _extent(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    """The first offset and the one after the last; asked again while the leader moves."""
    from confluent_kafka import KafkaException

    deadline = time.monotonic() + MOVING_S
    while True:
        try:
            return consumer.get_watermark_offsets(partition, timeout=MOVING_S)
        except KafkaException as failure:
            if not failure.args[0].retriable() or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


VERBS: dict[str, Callable[..., None]] = {"create": create, "write": write, "read": read}


if __name__ == "__main__":
    VERBS[sys.argv[1]](*sys.argv[2:])
