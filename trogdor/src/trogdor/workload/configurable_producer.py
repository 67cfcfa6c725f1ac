"""ConfigurableProducer: produces to one topic at a rate, in sizes and with flushes that generators give."""

from typing import Any

from confluent_kafka import KafkaException

from trogdor.spec import generators as g
from trogdor.spec.workload import ConfigurableProducerSpec
from trogdor.workload.batching import Flushes
from trogdor.workload.channel import Channel, run
from trogdor.workload.clients import WorkloadError, conf_of, create_topics, reason
from trogdor.workload.pacing import Pace, throughput
from trogdor.workload.payloads import batches
from trogdor.workload.producing import RUN, Sender, latency_fields
from trogdor.workload.topics import materialize

FLUSH_S = 3600


class ConfigurableProducer:
    """One ConfigurableProducer under way."""

    def __init__(self, spec: ConfigurableProducerSpec, topic: str, channel: Channel) -> None:
        self._topic, self._partition = topic, spec.active_partition
        self._channel = channel
        self._keys = batches(spec.key_generator or g.NullPayload())
        self._values = batches(spec.value_generator or g.NullPayload())
        self._flushes = Flushes(spec.flush_generator) if spec.flush_generator is not None else None
        base = {"bootstrap.servers": spec.bootstrap_servers}
        conf = conf_of("producer", channel, base, spec.common_client_conf, spec.producer_conf)
        self._sender = Sender(conf, channel)
        windows = throughput(spec.throughput_generator or g.ConstantThroughput())
        self._pace = Pace(windows, self._sender.idle, channel.stop.is_set)

    def status(self) -> dict[str, Any]:
        """Upstream's ConfigurableProducerWorker.StatusData."""
        return {"totalSent": self._sender.histogram.samples, **latency_fields(self._sender.histogram)}

    def send(self) -> None:
        """Sends until the workload is stopped. Raises WorkloadError."""
        position = 0
        self._sender.connect()
        try:
            while count := self._pace.take(RUN if self._flushes is None else min(self._flushes.until_flush, RUN)):
                keys, values = self._keys(position, count), self._values(position, count)
                self._sender.send(self._topic, self._partition, keys, values)
                position += count
                if self._flushes is not None and self._flushes.sent(count):
                    self._sender.flush(FLUSH_S)
        except KafkaException as failure:
            raise WorkloadError(reason(failure)) from None


def configurable_producer(spec: ConfigurableProducerSpec, channel: Channel) -> None:
    """Runs a ConfigurableProducer until it is stopped. Raises WorkloadError."""
    active = materialize(spec.active_topic)
    if len(active) != 1:
        raise WorkloadError("Can only run against 1 topic.")
    bench = ConfigurableProducer(spec, next(iter(active)), channel)
    create_topics(active, spec.bootstrap_servers, spec.common_client_conf, spec.admin_client_conf, channel)
    with channel.reporting(bench.status):
        bench.send()


if __name__ == "__main__":
    run(configurable_producer)
