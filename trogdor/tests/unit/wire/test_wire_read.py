"""Bodies are read as upstream reads them, and every problem is named in its words."""

from typing import Any

import pytest

from trogdor.spec.task import NoOpTaskSpec
from trogdor.wire.errors import BadRequest, UnknownClass
from trogdor.wire.messages import ArmWorkerRequest, CreateWorkerRequest, StopWorkerRequest, task_state, worker_state
from trogdor.wire.read import read_message
from trogdor.wire.status import FaultStatus, read_statuses

REQUEST = "org.apache.kafka.trogdor.rest.CreateWorkerRequest"
NOOP = "org.apache.kafka.trogdor.task.NoOpTaskSpec"
SPEC = {"class": NOOP, "startMs": 0, "durationMs": 1}


def _create(**fields: Any) -> dict[str, Any]:
    return {"workerId": 52, "taskId": "z", "spec": SPEC, **fields}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            _create(spec={**SPEC, "bogus": 1}),
            f'Unrecognized field "bogus" (class {NOOP}), not marked as ignorable (2 known properties: "startMs", '
            f'"durationMs"]) (through reference chain: {REQUEST}["spec"]->{NOOP}["bogus"])',
        ),
        (
            _create(bogus=1),
            f'Unrecognized field "bogus" (class {REQUEST}), not marked as ignorable (3 known properties: "taskId", '
            f'"workerId", "spec"]) (through reference chain: {REQUEST}["bogus"])',
        ),
        (
            _create(workerId="abc"),
            'Cannot deserialize value of type `long` from String "abc": not a valid `long` value '
            f'(through reference chain: {REQUEST}["workerId"])',
        ),
        (
            _create(spec={**SPEC, "startMs": "abc"}),
            'Cannot deserialize value of type `long` from String "abc": not a valid `long` value '
            f'(through reference chain: {REQUEST}["spec"]->{NOOP}["startMs"])',
        ),
    ],
)
def test_problems_are_in_jacksons_words_without_its_position(body: Any, said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_message(CreateWorkerRequest, body)
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            {"class": "no.such.Spec"},
            "Could not resolve type id 'no.such.Spec' as a subtype of `org.apache.kafka.trogdor.task.TaskSpec`: "
            f'no such class found (through reference chain: {REQUEST}["spec"])',
        ),
        (
            {"startMs": 0},
            "Could not resolve subtype of [simple type, class org.apache.kafka.trogdor.task.TaskSpec]: missing type "
            f"id property 'class' (through reference chain: {REQUEST}[\"spec\"])",
        ),
    ],
)
def test_an_unknown_class_is_upstreams_501(spec: Any, said: str) -> None:
    with pytest.raises(UnknownClass) as refused:
        read_message(CreateWorkerRequest, _create(spec=spec))
    assert str(refused.value) == said


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(BadRequest) as refused:
        read_message(CreateWorkerRequest, {"workerId": "abc", "spec": {**SPEC, "durationMs": [], "x": 1}, "y": 1})
    assert len(str(refused.value).splitlines()) == 4


def test_a_request_keeps_its_spec_and_survives_json() -> None:
    read = read_message(CreateWorkerRequest, _create())
    assert read.spec == NoOpTaskSpec(duration_ms=1)
    assert read_message(CreateWorkerRequest, read.to_json()) == read
    assert read_message(StopWorkerRequest, {}) == StopWorkerRequest()


def test_states_have_the_keys_upstream_writes() -> None:
    assert list(worker_state("STARTING", "t", {})) == ["state", "taskId", "spec"]
    assert list(worker_state("RUNNING", "t", {}, started_ms=1)) == ["state", "taskId", "spec", "startedMs", "status"]
    assert "error" not in worker_state("DONE", "t", {}, started_ms=1, done_ms=2)
    assert list(task_state("PENDING", {})) == ["state", "spec", "status"]
    done = task_state("DONE", {}, error="e", has_status=False)
    assert done == {"state": "DONE", "spec": {}, "startedMs": -1, "doneMs": -1, "error": "e", "cancelled": False}


def test_a_faults_status_is_read_for_one_node_and_for_many() -> None:
    status = FaultStatus(verdict="not seen: no beacon was missed", targets=("n1 → n2",))
    assert status.outcome == "not seen"
    assert read_statuses(status.to_json(), ["n1"]) == {"n1": status}
    assert read_statuses({"n1": status.to_json(), "n2": "receiving"}, ["n1", "n2"]) == {"n1": status}
    assert read_statuses("active", ["n1"]) == {}


@pytest.mark.parametrize(
    "address", ["1.1.1.1 tcp dport 1 return\nflush ruleset", "fe80::1%eth0\nflush ruleset", "host"]
)
def test_what_is_to_stand_in_rules_is_an_address(address: str) -> None:
    arming = {"workerId": 1, "taskId": "t", "spec": SPEC, "startNs": 1, "endNs": 2}
    assert read_message(ArmWorkerRequest, {**arming, "exempt": ["10.0.0.1", "fe80::1", ""]}).exempt[1] == "fe80::1"
    with pytest.raises(BadRequest, match="exempt"):
        read_message(ArmWorkerRequest, {**arming, "exempt": [address]})
