"""Plans of partitions on Windows: what other nodes send is blocked where it arrives, by rules of the firewall."""

import zlib
from collections.abc import Mapping, Sequence

from trogdor.claim.model import Claim, Term
from trogdor.compose.partition import parted
from trogdor.platform.base import Fault, Plan, Scene
from trogdor.platform.linux.addresses import addresses_of
from trogdor.probe.expect import LinkCut
from trogdor.spec.network import NetworkPartitionFaultSpec

Addresses = Mapping[str, Sequence[str]]


def partition_facts(spec: NetworkPartitionFaultSpec, scene: Scene) -> Addresses:
    """The addresses of every node that is parted from another. Raises CannotInject when one has none."""
    names = {name for group in spec.partitions for name in group}
    return {name: addresses_of(scene.topology.nodes[name]) for name in sorted(names)}


def plan_partition(spec: NetworkPartitionFaultSpec, scene: Scene, facts: Addresses, term: Term) -> Plan:
    """A claim on each link from a node of another group."""
    here, agents = scene.node.name, set(scene.topology.agents())
    claims, expect, targets = [], [], []
    for link in parted(spec.partitions, to=here):
        words = f"{link.from_} → {here}"
        want = {"link": words, "remote": sorted(facts[link.from_]), "exempt": [list(flow) for flow in scene.exempt]}
        claims.append(Claim(f"{term.worker_id}/{words}", "firewall", key_of(want["remote"]), want, term))
        targets.append(words)
        if link.from_ in agents:
            expect.append(LinkCut(link.from_, here, "any", (), False))
    return Plan(claims, expect, targets, unverified="" if expect or not claims else "no other end has an agent of ours")


def key_of(remote: object) -> str:
    """The same for the same addresses: faults of one link share its rules."""
    return f"{zlib.crc32(repr(remote).encode()):08x}"


FAULTS = (
    Fault(
        spec=NetworkPartitionFaultSpec,
        facts=partition_facts,
        plan=plan_partition,
        text=("created network partition {task_id}", "removed network partition {task_id}"),
        kinds=("firewall",),
        checked_by="Beacons of the other nodes' agents do not arrive while it holds, and arrive again after.",
    ),
)
