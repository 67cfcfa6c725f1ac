"""ShareRoundTrip: as RoundTrip, but a share group takes the messages.

The group is new, and set to begin with the topics' first messages, before it is joined: ours may be there before it
is. What earlier runs left there is told by its time.
"""

import time
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from trogdor.spec.workload import RoundTripWorkloadSpec, ShareRoundTripWorkloadSpec
from trogdor.workload.channel import Channel, run
from trogdor.workload.client_properties import ClientConf
from trogdor.workload.clients import WorkloadError, admin, conf_of, reason
from trogdor.workload.columns import Column
from trogdor.workload.round_trip import POLL_S, RoundTrip, prepared
from trogdor.workload.share_group import share_consumer

CONFIGURE_TIMEOUT_S = 60.0


class ShareRoundTrip(RoundTrip):
    """One ShareRoundTrip under way."""

    _began_ms = 0

    def _consumer_conf(self, base: dict[str, str]) -> ClientConf:
        spec = self._spec
        base |= {"group.id": f"round-trip-share-group-{self._channel.task_id}", "max.poll.interval.ms": "100000"}
        return conf_of("share", self._channel, base, spec.common_client_conf, spec.consumer_conf)

    def _open(self) -> Any:
        self._began_ms = time.time_ns() // 1_000_000
        _begin_with_the_first(str(self._conf.properties["group.id"]), self._spec, self._channel)
        return share_consumer(self._conf, sorted({topic for topic, _ in self._partitions}), self._channel)

    def _poll(self) -> Column:
        keys: Column = self._consumer.poll(self._conf.max_poll_records, POLL_S).since(self._began_ms).keys
        return keys


def _begin_with_the_first(group: str, spec: RoundTripWorkloadSpec, channel: Channel) -> None:
    base = {"bootstrap.servers": spec.bootstrap_servers}
    client = admin(conf_of("admin", channel, base, spec.common_client_conf, spec.admin_client_conf), channel)
    entry = ConfigEntry("share.auto.offset.reset", "earliest", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=[entry])
    try:
        client.incremental_alter_configs([resource])[resource].result(CONFIGURE_TIMEOUT_S)
    except KafkaException as failure:
        raise WorkloadError(f"the share group {group} cannot be configured: {reason(failure)}") from None


def share_round_trip(spec: ShareRoundTripWorkloadSpec, channel: Channel) -> None:
    """Runs until every message has come back or it is stopped. Raises WorkloadError."""
    trip = ShareRoundTrip(spec, prepared(spec, channel), channel)
    with channel.reporting(trip.status):
        trip.run()


if __name__ == "__main__":
    run(share_round_trip)
