"""Kafka by the command line, as typed: the demonstration, and a cluster in a lab."""

import json
import os
import subprocess
import sys
from typing import Any

from lab.waiting import python_path

from .conftest import PATIENCE_S

BROKERS_SEEN = """
import sys
from confluent_kafka.admin import AdminClient
print(len(AdminClient({"bootstrap.servers": sys.argv[1]}).list_topics(timeout=60).brokers))
"""


def trogdor(*arguments: str) -> str:
    """What a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "trogdor", *arguments],
        env={**os.environ, "PYTHONPATH": python_path()},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demonstration_suspends_the_active_controller_and_nothing_acknowledged_is_lost() -> None:
    report: dict[str, Any] = json.loads(trogdor("demo-kafka", "--for", "4s", "--json"))
    assert (report["problems"], report["lost"]) == ([], [])
    assert report["verdict"] == "seen"
    assert report["new_controller"] not in ("", report["controller"])
    assert report["new_epoch"] > report["epoch"]
    assert report["during_fault"] > 0


def test_a_lab_comes_up_with_kafka_and_zookeeper_and_goes_with_them() -> None:
    up = json.loads(trogdor("lab", "up", "1", "--no-daemons", "--kafka", "1", "--zookeeper", "1", "--json"))
    try:
        asked = [sys.executable, "-c", BROKERS_SEEN, up["kafka"]]
        assert trogdor("lab", "exec", "n1", "--name", up["name"], "--", *asked) == "1\n"
        running = json.loads(trogdor("lab", "ps", "--name", up["name"], "--json"))["nodes"]
        commands = {name: " ".join(each["command"] for each in node["processes"]) for name, node in running.items()}
        assert "kafka.Kafka" in commands["n1"]
        assert "org.apache.zookeeper" in commands["zk1"]
    finally:
        trogdor("lab", "down", up["name"])
    assert up["name"] not in trogdor("lab", "ls")
