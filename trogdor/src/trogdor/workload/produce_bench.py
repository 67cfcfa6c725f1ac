"""ProduceBench: produces messages to topics at a rate, in transactions if asked, and measures acknowledgements."""

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from confluent_kafka import KafkaException

from trogdor.spec.workload import ProduceBenchSpec
from trogdor.workload.batching import Action, Transactions, transactions
from trogdor.workload.channel import Channel, run
from trogdor.workload.clients import WorkloadError, conf_of, create_topics, producer, reason
from trogdor.workload.pacing import Pace, per_second
from trogdor.workload.payloads import Bytes, batches
from trogdor.workload.producing import RUN, UNASSIGNED, Sender, latency_fields
from trogdor.workload.topics import active_partitions, materialize

LEAST_PER_SEC = 10
"""What upstream's throttle makes of a rate of 0 or less: one message in each 100 ms."""

FINAL_FLUSH_S = 600
TRANSACTION_TIMEOUT_S = 60


Part = tuple[str, int, Sequence[Bytes], Sequence[Bytes]]


def round_robin(
    active: Sequence[tuple[str, int]], position: int, keys: Sequence[Bytes], values: Sequence[Bytes]
) -> Iterator[Part]:
    """A run from ``position`` on, to all active partitions in turn, as (topic, partition, keys, values)."""
    cycle, first = len(active), position % len(active)
    for at in range(min(cycle, len(keys))):
        yield *active[(first + at) % cycle], keys[at::cycle], values[at::cycle]


class ProduceBench:
    """One ProduceBench under way."""

    def __init__(self, spec: ProduceBenchSpec, channel: Channel) -> None:
        self._spec, self._channel = spec, channel
        self._keys, self._values = batches(spec.key_generator), batches(spec.value_generator)
        self._transactions: Transactions | None = None
        self._committed = 0
        base = {"bootstrap.servers": spec.bootstrap_servers}
        if spec.transaction_generator is not None:
            self._transactions = transactions(spec.transaction_generator)
            base["transactional.id"] = f"produce-bench-transaction-id-{uuid.uuid4()}"
        conf = conf_of("producer", channel, base, spec.common_client_conf, spec.producer_conf)
        self._sender = Sender(producer(conf, channel), conf.max_block_ms, channel)
        idle = self._sender.idle if spec.skip_flush else self._sender.flush_then_idle
        rate = spec.target_messages_per_sec if spec.target_messages_per_sec > 0 else LEAST_PER_SEC
        self._pace = Pace(per_second(rate), idle, channel.stop.is_set)

    def status(self) -> dict[str, Any]:
        """Upstream's ProduceBenchWorker.StatusData."""
        histogram = self._sender.histogram
        return {
            "totalSent": histogram.samples,
            **latency_fields(histogram),
            "transactionsCommitted": self._committed,
        }

    def send_all(self, active: Sequence[tuple[str, int]]) -> None:
        """Sends every message, or as many as go before the workload is stopped, and waits for acknowledgements."""
        try:
            if self._transactions is not None:
                self._sender.producer.init_transactions(TRANSACTION_TIMEOUT_S)
            self._send(active)
        except KafkaException as failure:
            raise WorkloadError(reason(failure)) from None
        self._sender.flush(FINAL_FLUSH_S)

    def _send(self, active: Sequence[tuple[str, int]]) -> None:
        position = 0
        while position < self._spec.max_messages and not self._channel.stop.is_set():
            if self._transactions is not None and self._take_action(self._transactions):
                continue
            room = RUN if self._transactions is None else self._transactions.room
            count = self._pace.take(min(RUN, room, self._spec.max_messages - position))
            if count == 0:
                break
            for part in round_robin(active, position, self._keys(position, count), self._values(position, count)):
                self._sender.send(*part)
            if self._transactions is not None:
                self._transactions.sent(count)
            position += count
        if self._transactions is not None and not self._channel.stop.is_set():
            self._take_action(self._transactions)

    def _take_action(self, wanted: Transactions) -> bool:
        action = wanted.next_action()
        if action is Action.BEGIN:
            self._sender.producer.begin_transaction()
        elif action is Action.COMMIT:
            self._sender.producer.commit_transaction(TRANSACTION_TIMEOUT_S)
            self._committed += 1
        return action is not Action.SEND


def produce_bench(spec: ProduceBenchSpec, channel: Channel) -> None:
    """Runs a ProduceBench until every message is acknowledged or it is stopped. Raises WorkloadError."""
    active = materialize(spec.active_topics)
    partitions = active_partitions(active)
    if spec.use_configured_partitioner:
        partitions = [(topic, UNASSIGNED) for topic, _ in partitions]
    if not partitions:
        raise WorkloadError("You must specify at least one active topic.")
    bench = ProduceBench(spec, channel)
    create_topics(
        {**active, **materialize(spec.inactive_topics)},
        spec.bootstrap_servers, spec.common_client_conf, spec.admin_client_conf, channel,
    )  # fmt: skip
    with channel.reporting(bench.status):
        bench.send_all(partitions)


if __name__ == "__main__":
    run(produce_bench)
