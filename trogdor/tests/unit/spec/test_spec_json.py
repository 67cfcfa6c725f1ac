"""Specs survive JSON both ways, with upstream's defaults and coercions (recorded from Java Trogdor 4.1.0)."""

import base64
import json
from typing import Any

import pytest
from pydantic import ValidationError

from trogdor.spec import REGISTRY, UnknownSpecClass, parse
from trogdor.spec.base import UPSTREAM

ZEROS = base64.b64encode(bytes(512)).decode()
KEYS = {"type": "sequential", "size": 4, "startOffset": 0}
VALUES = {"type": "constant", "size": 512, "value": ZEROS}
RANDOM = {"type": "uniformRandom", "size": 32, "seed": 123, "padding": 10}

DEFAULTS: dict[str, dict[str, Any]] = {
    "task.NoOpTaskSpec": {},
    "fault.ProcessStopFaultSpec": {},
    "fault.NetworkPartitionFaultSpec": {},
    "fault.FilesUnreadableFaultSpec": {"errorCode": 0},
    "fault.DegradedNetworkFaultSpec": {},
    "workload.ProduceBenchSpec": {
        "targetMessagesPerSec": 0, "maxMessages": 0, "keyGenerator": KEYS, "valueGenerator": VALUES,
        "activeTopics": {}, "inactiveTopics": {}, "useConfiguredPartitioner": False, "skipFlush": False,
    },
    "workload.ConsumeBenchSpec": {"targetMessagesPerSec": 0, "maxMessages": 0, "threadsPerWorker": 1},
    "workload.RoundTripWorkloadSpec": {
        "targetMessagesPerSec": 0, "valueGenerator": RANDOM, "activeTopics": {}, "maxMessages": 0,
    },
    "workload.ConnectionStressSpec": {"targetConnectionsPerSec": 0, "numThreads": 1, "action": "CONNECT"},
    "workload.SustainedConnectionSpec": {
        "producerConnectionCount": 0, "consumerConnectionCount": 0, "metadataConnectionCount": 0, "numThreads": 1,
        "refreshRateMs": 1,
    },
    "workload.ExternalCommandSpec": {"workload": None},
    "workload.ShareConsumeBenchSpec": {
        "targetMessagesPerSec": 0, "maxMessages": 0, "shareGroup": "share", "threadsPerWorker": 1,
    },
    "workload.ShareRoundTripWorkloadSpec": {
        "targetMessagesPerSec": 0, "valueGenerator": RANDOM, "activeTopics": {}, "maxMessages": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_spec_of_only_its_times_gets_upstreams_defaults_in_upstreams_order(name: str) -> None:
    bare = {"class": UPSTREAM + name, "startMs": 1795409743237, "durationMs": 1000}
    assert json.dumps(parse(bare).to_json()) == json.dumps({**bare, **DEFAULTS[name]})


def test_every_upstream_class_is_registered() -> None:
    registered = {spec.class_name for spec in REGISTRY if spec.class_name.startswith(UPSTREAM)}
    assert registered == {UPSTREAM + name for name in DEFAULTS} | {UPSTREAM + "workload.ConfigurableProducerSpec"}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"startMs": "1795409743237", "durationMs": 5.7}, {"startMs": 1795409743237, "durationMs": 5}),
        ({"durationMs": -5}, {"startMs": 0, "durationMs": 0}),
        ({"durationMs": 10**17}, {"startMs": 0, "durationMs": 10**15}),
        ({"startMs": None}, {"startMs": 0, "durationMs": 0}),
    ],
)
def test_times_are_coerced_and_clamped_as_upstream_does(given: dict[str, Any], read: dict[str, Any]) -> None:
    assert parse({"class": "NoOpTaskSpec", **given}).to_json() == {"class": UPSTREAM + "task.NoOpTaskSpec", **read}


def test_a_single_value_stands_for_a_list_of_one() -> None:
    spec = parse({"class": "ProcessStopFaultSpec", "nodeNames": "node0", "javaProcessName": "kafka.Kafka"})
    assert spec.to_json()["nodeNames"] == ["node0"]


@pytest.mark.parametrize("bad", [{"class": "no.such.Spec"}, {"startMs": 0}, {"class": 17}])
def test_a_class_that_is_missing_or_unknown_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UnknownSpecClass):
        parse(bad)


def test_every_problem_is_listed_with_its_path() -> None:
    with pytest.raises(ValidationError) as raised:
        parse({"class": "CutLinksFaultSpec", "links": [{"from": "n 1", "to": "n2", "ports": ["x"]}], "bogus": 1})
    paths = {".".join(map(str, problem["loc"])) for problem in raised.value.errors()}
    assert {"links.0.from", "links.0.ports.0", "bogus"} <= paths


@pytest.mark.parametrize("spec", list(REGISTRY), ids=lambda spec: spec.class_name)
def test_every_example_is_a_valid_spec_and_survives_json(spec: Any) -> None:
    if not spec.example:
        return
    read = parse({"class": spec.class_name, **spec.example})
    assert parse(json.loads(json.dumps(read.to_json()))) == read
