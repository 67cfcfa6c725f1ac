"""Who plays a part in a cluster whose controller is on a node of its own."""

import pytest

from trogdor.lab.lab import Lab

from .conftest import resolve

pytestmark = pytest.mark.xdist_group("one broker")


@pytest.mark.parametrize(("role", "nodes"), [("controller", ["c1"]), ("voters", ["c1"]), ("brokers", ["node0"])])
def test_a_separate_controller_is_no_broker(one_broker: Lab, role: str, nodes: list[str]) -> None:
    assert resolve(one_broker, role, bootstrapServers="node0:9092")["nodes"] == nodes
