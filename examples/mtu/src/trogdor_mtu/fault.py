from types import SimpleNamespace

from trogdor.claim.model import CannotInject, Claim, Term
from trogdor.platform.base import Fault, Plan, Scene
from trogdor_mtu.resource import Mtu
from trogdor_mtu.spec import SmallPacketsFaultSpec


def mtu_now(spec: SmallPacketsFaultSpec, scene: Scene) -> int:
    mtu = Mtu(scene.place, scene.node.name).observe(spec.device)
    if mtu is None:
        raise CannotInject(f"{scene.node.name} has no network device {spec.device!r}")
    return int(mtu)


def plan(spec: SmallPacketsFaultSpec, scene: Scene, now: int, term: Term) -> Plan:
    claim = Claim(f"{term.worker_id}/{spec.device}", "mtu", spec.device, spec.mtu, term)
    return Plan([claim], (), [f"{spec.device}: {now} → {spec.mtu} bytes"], unverified="no probe sends large packets")


PLATFORM = SimpleNamespace(
    name="linux",
    faults={
        SmallPacketsFaultSpec: Fault(
            spec=SmallPacketsFaultSpec,
            facts=mtu_now,
            plan=plan,
            text=("sending packets of {spec.mtu} bytes", "sending packets as before"),
            kinds=("mtu",),
            checked_by="nothing: no probe sends large packets",
        )
    },
    kinds={"mtu": "trogdor_mtu.resource:Mtu"},
)
