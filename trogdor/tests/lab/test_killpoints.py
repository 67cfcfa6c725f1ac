"""Killed at every boundary of a claim's way, with every kind of resource, nothing is forgotten and nothing stays."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.claims_process import ClaimsProcess
from lab.groups import why_no_group
from lab.specimens import SPECIMENS
from trogdor.claim.points import POINTS
from trogdor.lab import Lab
from trogdor.platform.linux.kinds import KINDS

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def node(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClaimsProcess]:
    with ClaimsProcess(lab.nodes["n3"], tmp_path_factory.mktemp("killpoints")) as process:
        yield process


def test_every_kind_of_resource_has_a_specimen() -> None:
    assert set(SPECIMENS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("point", POINTS)
def test_killed_there(node: ClaimsProcess, point: str, kind: str, tmp_path: Path) -> None:
    if kind == "kibosh":
        pytest.importorskip("kibosh._native", reason="Kibosh is not built: make -C kibosh build")
    if kind == "freezer" and (why := why_no_group()):
        pytest.skip(why)
    seen = node("case", point=point, kind=kind, state=str(tmp_path))
    assert seen["died"], f"{point} was never reached"
    assert seen["explained"], "the node is under something that its journal does not tell of"
    assert seen["heir"] == 0
    assert seen["as_before"], f"{seen['seen']} is left, not {seen['base']}"
    assert not seen["standing"], "what was prepared still stands"
    assert not seen["claims_left"]
