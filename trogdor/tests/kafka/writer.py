"""Run in a node: makes a topic, writes numbered messages and notes each acknowledgement, or reads them all."""

import json
import sys
import threading

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic


def create(bootstrap: str, topic: str) -> None:
    """One partition, three replicas, two of them needed."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 1, 3, config={"min.insync.replicas": "2"})])[topic].result(60)


def write(bootstrap: str, topic: str, path: str) -> None:
    """About 200 messages a second until standard input ends; each number is noted once it is acknowledged."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    producer = Producer(
        {"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "delivery.timeout.ms": 60_000,
         "log_level": 2}
    )  # fmt: skip
    with open(path, "a", buffering=1) as acknowledged:

        def delivered(error: object, message: object) -> None:
            if error is None:
                acknowledged.write(message.value().decode() + "\n")  # type: ignore[attr-defined]

        number = 0
        while not ended.wait(0.005):
            producer.produce(topic, str(number).encode(), on_delivery=delivered)
            producer.poll(0)
            number += 1
        producer.flush(90)


def read(bootstrap: str, topic: str) -> None:
    """Prints every number in the topic, as a JSON list."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "log_level": 2})
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=60)
    consumer.assign([TopicPartition(topic, 0, low)])
    numbers: list[int] = []
    position = low
    while position < high:
        for message in consumer.consume(500, 1):
            if message.error() is None:
                numbers.append(int(message.value()))
                position = message.offset() + 1
    consumer.close()
    print(json.dumps(numbers))


if __name__ == "__main__":
    bootstrap, verb, *arguments = sys.argv[1:]
    {"create": create, "write": write, "read": read}[verb](bootstrap, *arguments)
