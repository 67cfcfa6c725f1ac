"""ProduceBench: produces messages to topics at a rate, in transactions if asked, and measures acknowledgements."""

import uuid
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaException

from trogdor.spec.workload import ProduceBenchSpec
from trogdor.workload.batching import Action, Transactions, transactions
from trogdor.workload.channel import Channel, run
from trogdor.workload.clients import WorkloadError, conf_of, create_topics, reason
from trogdor.workload.pacing import Pace, per_second
from trogdor.workload.payloads import batches
from trogdor.workload.producing import RUN, UNASSIGNED, Sender, in_turn, latency_fields
from trogdor.workload.topics import active_partitions, materialize

LEAST_PER_SEC = 10
"""What upstream's throttle makes of a rate of 0 or less: one message in each 100 ms."""

FINAL_FLUSH_S = 600


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
        self._sender = Sender(conf, channel)
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
        self._sender.connect()
        try:
            if self._transactions is not None:
                self._sender.init_transactions()
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
            keys, values = self._keys(position, count), self._values(position, count)
            for topic, partition, part in in_turn(active, position, count):
                self._sender.send(topic, partition, keys[part], values[part])
            if self._transactions is not None:
                self._transactions.sent(count)
            position += count
        if self._transactions is not None and not self._channel.stop.is_set():
            self._take_action(self._transactions)

    def _take_action(self, wanted: Transactions) -> bool:
        action = wanted.next_action()
        if action is Action.BEGIN:
            self._sender.begin_transaction()
        elif action is Action.COMMIT:
            self._committed += self._sender.commit_transaction()
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
