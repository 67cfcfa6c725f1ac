"""The worked example of docs/writing-a-fault.md: found through its entry points, seen from outside, put back."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import trogdor
from trogdor.claim.ledger import Ledger, boot_ns
from trogdor.claim.model import Term
from trogdor.claim.place import Place
from trogdor.lab import Lab, Node
from trogdor.platform.base import Scene
from trogdor.topology import Node as Named
from trogdor.topology import Topology

pytestmark = pytest.mark.lab

EXAMPLE = Path(__file__).parents[3] / "examples/mtu"


@pytest.fixture
def installed(tmp_path: Path) -> str:
    """A PYTHONPATH on which the example is installed, as pip would."""
    import tomllib

    points = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"]
    info = tmp_path / "trogdor_mtu-1.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: trogdor-mtu\nVersion: 1.0.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in of.items()) for group, of in points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return os.pathsep.join([str(tmp_path), str(EXAMPLE / "src"), str(Path(trogdor.__file__).parents[1])])


def test_its_spec_its_fault_and_its_kind_are_found(installed: str) -> None:
    program = (
        "import json; from trogdor.platform.linux import PLATFORM; from trogdor.spec import parse; "
        "spec = parse({'class': 'SmallPacketsFaultSpec', 'nodeNames': ['n1'], 'device': 'eth0', 'mtu': 1280}); "
        "print(json.dumps([type(spec) in PLATFORM.faults, PLATFORM.kinds['mtu'], dict(PLATFORM.missing())]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": installed}, capture_output=True, timeout=60
    )
    assert json.loads(done.stdout or done.stderr) == [True, "trogdor_mtu.resource:Mtu", {}]


def mtu_of(node: Node) -> int:
    shown = node.exec(["ip", "-json", "link", "show", "dev", "eth0"], check=True).stdout
    return int(json.loads(shown)[0]["mtu"])


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(EXAMPLE / "src"))
    yield
    for name in [name for name in sys.modules if name.startswith("trogdor_mtu")]:
        del sys.modules[name]


def test_packets_are_small_while_it_holds_and_as_before_after_a_dead_agent(
    lab: Lab, tmp_path: Path, example: None
) -> None:
    from trogdor_mtu.fault import PLATFORM
    from trogdor_mtu.spec import SmallPacketsFaultSpec

    node, pid = lab.nodes["n3"], lab.nodes["n3"].pid
    assert pid is not None
    before = mtu_of(node)
    topology = Topology({"n3": Named("n3", agent_port=1)})
    scene = Scene(topology.nodes["n3"], topology, Place.of_process(pid))
    fault = PLATFORM.faults[SmallPacketsFaultSpec]
    dead = Ledger.open(tmp_path, "n3", PLATFORM.kinds, place=scene.place)
    for worker, mtu in ((1, 1300), (2, 1280)):
        spec = SmallPacketsFaultSpec(node_names=("n3",), device="eth0", mtu=mtu)
        planned = fault.plan(spec, scene, fault.facts(spec, scene), Term(f"t{worker}", worker, 0, boot_ns() + 10**12))
        dead.admit(planned.claims)
        assert dead.fire([claim.id for claim in planned.claims]).troubles == {}
    assert mtu_of(node) == 1280
    dead.release(["2/eth0"], "end")
    assert mtu_of(node) == 1300
    dead._lock.release()
    Ledger.open(tmp_path, "n3", PLATFORM.kinds, place=scene.place).close()
    assert mtu_of(node) == before
