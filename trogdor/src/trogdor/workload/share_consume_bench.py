"""ShareConsumeBench: as ConsumeBench, but the consumers of a share group take the messages of a topic in turns.

The brokers need Kafka 4.1 with the feature ``share.version`` at 1. Where a new share group begins is the group's
configuration ``share.auto.offset.reset``, which is ``latest`` unless it was set; the workload leaves it, as upstream's.
"""

from confluent_kafka import Message

from trogdor.spec.workload import ShareConsumeBenchSpec
from trogdor.workload.channel import Channel, run
from trogdor.workload.clients import WorkloadError, conf_of
from trogdor.workload.consume_bench import MAX_POLL_INTERVAL_MS, POLL_S, ConsumeBench, Consuming, Processor
from trogdor.workload.share_group import share_consumer
from trogdor.workload.topics import subscriptions

WHOLE_TOPICS = "A share group takes whole topics: name no partitions in activeTopics."


class ShareConsuming(Consuming):
    """One member of a share group under way. What it has polled is accepted with its next poll, or when it closes."""

    def _poll(self, most: int) -> list[Message]:
        return self._sound(self.client.poll(POLL_S))


def share_consumers(spec: ShareConsumeBenchSpec, channel: Channel) -> list[ShareConsuming]:
    """A member of the group for each thread. Raises WorkloadError."""
    wanted = subscriptions(spec.active_topics)
    if any(wanted.values()):
        raise WorkloadError(WHOLE_TOPICS)
    return [_make(spec, list(wanted), index, channel) for index in range(spec.threads_per_worker)]


def _make(spec: ShareConsumeBenchSpec, topics: list[str], index: int, channel: Channel) -> ShareConsuming:
    client_id = f"consumer.{channel.task_id}-{index}"
    base = {
        "bootstrap.servers": spec.bootstrap_servers,
        "client.id": client_id,
        "group.id": spec.share_group,
        "max.poll.interval.ms": str(MAX_POLL_INTERVAL_MS),
    }
    conf = conf_of("share", channel, base, spec.common_client_conf, spec.consumer_conf)
    return ShareConsuming(share_consumer(conf, topics, channel), client_id, spec, conf.max_poll_records, channel)


def share_consume_bench(spec: ShareConsumeBenchSpec, channel: Channel) -> None:
    """Runs until every member has its messages or it is stopped. Raises WorkloadError."""
    processor = Processor(spec.record_processor) if spec.record_processor is not None else None
    bench = ConsumeBench(share_consumers(spec, channel), processor, channel)
    with channel.reporting(bench.status):
        bench.consume_all()


if __name__ == "__main__":
    run(share_consume_bench)
