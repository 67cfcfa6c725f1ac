"""ConnectionStress: opens connections to brokers and closes them, so many a second."""

import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaException

from trogdor.spec.workload import ConnectionStressSpec
from trogdor.workload.channel import Channel, run
from trogdor.workload.client_properties import ClientConf
from trogdor.workload.clients import admin, conf_of
from trogdor.workload.pacing import Pace, per_second

CONNECT_TIMEOUT_S = 0.5
"""Upstream's patience with one connection."""

METADATA_TIMEOUT_S = 60.0
LEAST_PER_SEC = 10

Attempt = Callable[[], bool]


def brokers(bootstrap_servers: str) -> list[tuple[str, int]]:
    """Host and port of each bootstrap server. Raises ValueError."""
    ends = []
    for server in bootstrap_servers.split(","):
        host, colon, port = server.strip().rpartition(":")
        if not colon or not port.isdecimal() or not host:
            raise ValueError(f"Invalid url in bootstrap.servers: {server.strip()}")
        ends.append((host.strip("[]"), int(port)))
    return ends


def connect(ends: list[tuple[str, int]]) -> Attempt:
    """An attempt that opens one connection to any of the brokers and closes it."""

    def attempt() -> bool:
        try:
            socket.create_connection(random.choice(ends), CONNECT_TIMEOUT_S).close()
        except OSError:
            return False
        return True

    return attempt


def fetch_metadata(conf: ClientConf, channel: Channel) -> Attempt:
    """An attempt that makes a client, asks it for the brokers and closes it: with TLS and SASL as configured."""

    def attempt() -> bool:
        try:
            admin(conf, channel).list_topics(timeout=METADATA_TIMEOUT_S)
        except KafkaException:
            return False
        return True

    return attempt


class ConnectionStress:
    """One ConnectionStress under way, on several threads."""

    def __init__(self, spec: ConnectionStressSpec, channel: Channel) -> None:
        self._spec, self._channel = spec, channel
        base = {"bootstrap.servers": spec.bootstrap_servers}
        conf = conf_of("admin", channel, base, spec.common_client_conf)
        plain = conf.properties.get("security.protocol", "PLAINTEXT") == "PLAINTEXT"
        ends = brokers(str(conf.properties["bootstrap.servers"]))
        self._attempt = connect(ends) if spec.action == "CONNECT" and plain else fetch_metadata(conf, channel)
        self._lock = threading.Lock()
        self._connections = self._failed = 0
        self._began = time.monotonic()

    def status(self) -> dict[str, Any]:
        """Upstream's ConnectionStressWorker.StatusData."""
        with self._lock:
            passed_s = time.monotonic() - self._began
            return {
                "totalConnections": self._connections,
                "totalFailedConnections": self._failed,
                "connectsPerSec": self._connections / passed_s,
            }

    def run(self) -> None:
        """Connects until the workload is stopped."""
        threads = [threading.Thread(target=self._loop, name=f"connect-{at}") for at in range(self._spec.num_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _loop(self) -> None:
        rate = max(self._spec.target_connections_per_sec, LEAST_PER_SEC) / self._spec.num_threads
        pace = Pace(per_second(rate), self._channel.stop.wait, self._channel.stop.is_set)
        while pace.take(1):
            succeeded = self._attempt()
            with self._lock:
                self._connections += 1
                self._failed += not succeeded


def connection_stress(spec: ConnectionStressSpec, channel: Channel) -> None:
    """Runs a ConnectionStress until it is stopped."""
    stress = ConnectionStress(spec, channel)
    with channel.reporting(stress.status):
        stress.run()


if __name__ == "__main__":
    run(connection_stress)
