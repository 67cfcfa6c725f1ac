"""A workload's process speaks ExternalCommand's JSON lines."""

import json
import subprocess
import sys
from typing import Any

COMMAND = [sys.executable, "-m", "trogdor.workload.produce_bench"]


def answers(spec: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
    line = json.dumps({"id": "t1", "workload": spec}) + "\n"
    ran = subprocess.run(COMMAND, input=line, capture_output=True, text=True, timeout=60)
    return [json.loads(line) for line in ran.stdout.splitlines()], ran.returncode


def test_a_spec_that_cannot_run_ends_in_upstreams_error() -> None:
    said, code = answers({"class": "ProduceBenchSpec", "bootstrapServers": "127.0.0.1:1", "activeTopics": {}})
    assert (said, code) == ([{"error": "You must specify at least one active topic."}], 0)


def test_a_property_without_counterpart_is_the_error() -> None:
    topics = {"foo": {"numPartitions": 1, "replicationFactor": 1}}
    said, _ = answers({"class": "ProduceBenchSpec", "producerConf": {"no.such": "1"}, "activeTopics": topics})
    assert "no.such" in said[-1]["error"]


def test_what_is_no_task_is_an_error() -> None:
    ran = subprocess.run(COMMAND, input="{}\n", capture_output=True, text=True, timeout=60)
    assert "error" in json.loads(ran.stdout)
