"""What is sent comes back, or is known to be missing: by librdkafka's mock brokers, and by the window of those out."""

import io
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from trogdor.spec import parse
from trogdor.workload import clients
from trogdor.workload.channel import Channel
from trogdor.workload.round_trip import WINDOW, Outstanding, RoundTrip

MESSAGES = 2000


def test_what_the_producer_has_no_room_for_is_sent_again_and_comes_back() -> None:
    brokers = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    known = brokers.list_topics("around", timeout=30)
    (broker,) = known.brokers.values()
    spec = parse(
        {
            "class": "RoundTripWorkloadSpec", "bootstrapServers": f"{broker.host}:{broker.port}",
            "targetMessagesPerSec": 1_000_000, "maxMessages": MESSAGES,
            "producerConf": {"librdkafka.queue.buffering.max.messages": "100"},
        }
    )  # fmt: skip
    said = io.StringIO()
    trip = RoundTrip(spec, [("around", number) for number in known.topics["around"].partitions], Channel("t1", said))
    trip.run()
    assert trip.status() == {"totalUniqueSent": MESSAGES, "totalReceived": MESSAGES}
    assert "error" not in said.getvalue()


BROKERS = """
import time
from confluent_kafka import Producer
brokers = Producer({"test.mock.num.brokers": 1, "log_level": 0})
(broker,) = brokers.list_topics("around", timeout=30).brokers.values()
print(f"{broker.host}:{broker.port}", flush=True)
time.sleep(3600)
"""


def test_who_is_stopped_while_the_brokers_hang_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "CLOSE_S", 0.2)
    with subprocess.Popen([sys.executable, "-c", BROKERS], stdout=subprocess.PIPE, text=True) as brokers:
        assert brokers.stdout is not None
        spec = parse(
            {
                "class": "RoundTripWorkloadSpec", "bootstrapServers": brokers.stdout.readline().strip(),
                "targetMessagesPerSec": 1000, "maxMessages": 10**9,
            }
        )  # fmt: skip
        channel = Channel("t1", io.StringIO())
        trip = RoundTrip(spec, [("around", 0)], channel)
        running = threading.Thread(target=trip.run, daemon=True)
        running.start()
        try:
            assert until(lambda: trip.status()["totalReceived"] > 0)
            brokers.send_signal(signal.SIGSTOP)
            assert until(lambda: trip.status()["totalUniqueSent"] > trip.status()["totalReceived"])
            channel.stop.set()
            running.join(60)
            assert not running.is_alive()
        finally:
            brokers.kill()


def until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def test_repeats_and_strangers_do_not_count() -> None:
    outstanding = Outstanding()
    outstanding.send(3)
    outstanding.receive([2, 2, 7, 0])
    assert (outstanding.received, outstanding.first) == (2, 1)
    outstanding.receive([1])
    assert (outstanding.received, outstanding.first, outstanding.room()) == (3, 3, WINDOW)


def test_the_window_is_left_only_when_its_first_has_come_back() -> None:
    outstanding = Outstanding()
    outstanding.send(WINDOW)
    outstanding.receive(range(1, WINDOW))
    assert outstanding.room() == 0
    outstanding.receive([0])
    assert (outstanding.room(), outstanding.received) == (WINDOW, WINDOW)
    outstanding.send(5)
    outstanding.receive([WINDOW + 4])
    assert (outstanding.first, outstanding.received) == (WINDOW, WINDOW + 1)
