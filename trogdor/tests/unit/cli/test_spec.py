"""``trogdor spec``: what a newcomer learns of a spec."""

import json
from typing import Any

import pytest

from trogdor.cli.main import main
from trogdor.spec import REGISTRY, Spec, parse


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(args))
    out = capsys.readouterr()
    return int(ended.value.code or 0), out.out, out.err


def test_list_names_every_spec_with_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "spec", "list")
    assert code == 0
    for spec in REGISTRY:
        assert spec.class_name.rpartition(".")[2] in out
    code, out, _ = run(capsys, "spec", "list", "--json")
    assert {row["class"] for row in json.loads(out)} == {spec.class_name for spec in REGISTRY}
    assert all(row["summary"] for row in json.loads(out))


@pytest.mark.parametrize("spec", list(REGISTRY), ids=lambda spec: spec.__name__)
def test_every_spec_can_be_shown(spec: type[Spec], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "spec", "show", spec.class_name)
    assert code == 0
    assert out.startswith(spec.class_name + "\n")
    assert '"class": ' in out


@pytest.mark.parametrize("spec", [spec for spec in REGISTRY if spec.example], ids=lambda spec: spec.__name__)
def test_the_example_is_a_valid_spec(spec: type[Spec], capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "spec", "show", spec.__name__, "--json")
    assert isinstance(parse(json.loads(out)["example"]), spec)


def test_fields_have_type_default_and_description(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "spec", "show", "CutLinksFaultSpec", "--json")
    fields: dict[str, Any] = {field["name"]: field for field in json.loads(out)["fields"]}
    assert fields["links"]["required"] is True
    assert fields["links"]["type"] == "list of objects"
    assert fields["links[].from"]["type"] == "string"
    assert fields["links[].protocol"]["default"] == "any"
    assert "ms" in fields["durationMs"]["description"]


def test_schema_is_json_schema_with_the_class(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "spec", "show", "ProcessPauseFaultSpec", "--schema")
    schema = json.loads(out)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["properties"]["class"] == {"const": "trogdor.fault.ProcessPauseFaultSpec"}
    assert set(schema["required"]) == {"class", "nodeNames", "match"}


def test_an_unknown_name_is_bad_usage_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "spec", "show", "NetworkPartition")
    assert code == 2
    assert "NetworkPartitionFaultSpec" in err
