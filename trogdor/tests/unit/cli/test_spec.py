"""``trogdor spec``: what a newcomer learns of a spec."""

import json
from typing import Any

import pytest

from trogdor.spec import REGISTRY, Spec, parse
from unit.cli.support import Run


def test_list_names_every_spec_with_its_summary(run: Run) -> None:
    shown = run("spec", "list")
    assert shown.code == 0
    for spec in REGISTRY:
        assert spec.class_name.rpartition(".")[2] in shown.out
    shown = run("spec", "list", "--json")
    assert {row["class"] for row in json.loads(shown.out)} == {spec.class_name for spec in REGISTRY}
    assert all(row["summary"] for row in json.loads(shown.out))


@pytest.mark.parametrize("spec", list(REGISTRY), ids=lambda spec: spec.__name__)
def test_every_spec_can_be_shown(spec: type[Spec], run: Run) -> None:
    shown = run("spec", "show", spec.class_name)
    assert shown.code == 0
    assert shown.out.startswith(spec.class_name + "\n")
    assert '"class": ' in shown.out


@pytest.mark.parametrize("spec", [spec for spec in REGISTRY if spec.example], ids=lambda spec: spec.__name__)
def test_the_example_is_a_valid_spec(spec: type[Spec], run: Run) -> None:
    shown = run("spec", "show", spec.__name__, "--json")
    assert isinstance(parse(json.loads(shown.out)["example"]), spec)


def test_fields_have_type_default_and_description(run: Run) -> None:
    shown = run("spec", "show", "CutLinksFaultSpec", "--json")
    fields: dict[str, Any] = {field["name"]: field for field in json.loads(shown.out)["fields"]}
    assert fields["links"]["required"] is True
    assert fields["links"]["type"] == "list of objects"
    assert fields["links[].from"]["type"] == "string"
    assert fields["links[].protocol"]["default"] == "any"
    assert "ms" in fields["durationMs"]["description"]


def test_schema_is_json_schema_with_the_class(run: Run) -> None:
    shown = run("spec", "show", "ProcessPauseFaultSpec", "--schema")
    schema = json.loads(shown.out)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["properties"]["class"] == {"const": "trogdor.fault.ProcessPauseFaultSpec"}
    assert set(schema["required"]) == {"class", "nodeNames", "match"}


def test_an_unknown_name_is_bad_usage_with_the_nearest(run: Run) -> None:
    shown = run("spec", "show", "NetworkPartition")
    assert shown.code == 2
    assert "NetworkPartitionFaultSpec" in shown.err


def test_a_fault_shows_what_undoes_and_what_checks_it(run: Run) -> None:
    shown = run("spec", "show", "CutLinksFaultSpec").out
    assert "nft: kernel, warden, replay: " in shown
    assert "What checks it\n" in shown
