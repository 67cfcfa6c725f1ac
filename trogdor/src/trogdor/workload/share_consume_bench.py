"""ShareConsumeBench: as ConsumeBench, but the consumers of a share group take the messages of a topic in turns.

The brokers need Kafka 4.1 with the feature ``share.version`` at 1. Where a new share group begins is the group's
configuration ``share.auto.offset.reset``, which is ``latest`` unless it was set; the workload leaves it, as upstream's.
What a member has polled is accepted with its next poll, or when it closes.
"""

from trogdor.spec.workload import ShareConsumeBenchSpec
from trogdor.workload.channel import Channel, run
from trogdor.workload.clients import WorkloadError, conf_of
from trogdor.workload.consume_bench import Consuming, base_of, client_id, run_consumers
from trogdor.workload.share_group import share_consumer
from trogdor.workload.topics import subscriptions

WHOLE_TOPICS = "A share group takes whole topics: name no partitions in activeTopics."


def share_consumers(spec: ShareConsumeBenchSpec, channel: Channel) -> list[Consuming]:
    """A member of the group for each thread. Raises WorkloadError."""
    wanted = subscriptions(spec.active_topics)
    if any(wanted.values()):
        raise WorkloadError(WHOLE_TOPICS)
    return [_make(spec, list(wanted), index, channel) for index in range(spec.threads_per_worker)]


def _make(spec: ShareConsumeBenchSpec, topics: list[str], index: int, channel: Channel) -> Consuming:
    base = base_of(spec, index, channel) | {"group.id": spec.share_group}
    conf = conf_of("share", channel, base, spec.common_client_conf, spec.consumer_conf)
    member = share_consumer(conf, topics, channel)
    return Consuming(member, client_id(index, channel), spec, conf.max_poll_records, channel)


def share_consume_bench(spec: ShareConsumeBenchSpec, channel: Channel) -> None:
    """Runs until every member has its messages or it is stopped. Raises WorkloadError."""
    run_consumers(spec, channel, share_consumers)


if __name__ == "__main__":
    run(share_consume_bench)
