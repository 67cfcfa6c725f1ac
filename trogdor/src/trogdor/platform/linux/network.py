"""Plans of partitions and cut links: which links are cut on this node, and by which claims.

A link is cut where it arrives, and where that end has no agent, where it leaves. A node's traffic with itself is no
link; a network or a negation never means the node's own addresses.
"""

import itertools
import zlib
from collections.abc import Iterator, Sequence

from trogdor.claim.model import Claim, Json, Term
from trogdor.compose.partition import parted
from trogdor.platform.base import Fault, Plan, Scene
from trogdor.platform.linux.addresses import (
    EVERYWHERE,
    LOOPBACK,
    MULTICAST,
    Addresses,
    Network,
    is_own,
    literal_addresses,
    look_up,
    network_of,
    without,
)
from trogdor.platform.linux.cut import collapsed, key_of
from trogdor.probe.expect import LinkCut
from trogdor.spec import SpecError
from trogdor.spec.network import CutLinksFaultSpec, Link, NetworkPartitionFaultSpec
from trogdor.topology import Topology

REPLAN_MS = 5000
"""How often names are looked up again during a fault."""


def partition_facts(spec: NetworkPartitionFaultSpec, scene: Scene) -> Addresses:
    """The addresses of every node that is parted from another."""
    return look_up({scene.node.name, *itertools.chain(*spec.partitions)}, scene.topology, scene.place)


def plan_partition(spec: NetworkPartitionFaultSpec, scene: Scene, facts: Addresses, term: Term) -> Plan:
    """A claim on each link from a node of another group."""
    return _plan(parted(spec.partitions, to=scene.node.name), "keep", scene, facts, term)


def links_facts(spec: CutLinksFaultSpec, scene: Scene) -> Addresses:
    """The addresses of every end that is a node or a DNS name."""
    ends = {end.removeprefix("!") for link in spec.links for end in (link.from_, link.to)}
    names = {end for end in ends if end in scene.topology.nodes or network_of(end) is None}
    return look_up(names | {scene.node.name}, scene.topology, scene.place)


def plan_links(spec: CutLinksFaultSpec, scene: Scene, facts: Addresses, term: Term) -> Plan:
    """A claim on each link that is cut here."""
    return _plan(spec.links, spec.control_traffic, scene, facts, term)


def _plan(links: Sequence[Link], control: str, scene: Scene, facts: Addresses, term: Term) -> Plan:
    claims, expect, targets = [], [], []
    for link in links:
        hook = _hook(link, scene)
        if hook is None:
            continue
        _check_told_apart(link, scene, facts)
        remote = _addresses(link.from_ if hook == "in" else link.to, facts)
        if not remote:
            continue
        exempt = [] if control == "cut" else [list(flow) for flow in scene.exempt]
        want = _want(link, hook, remote, scene, facts) | {"exempt": exempt}
        claims.append(_claim(want, term))
        targets.append(want["link"])
        expect += list(_expected(link, scene))
    return Plan(claims, expect, targets, unverified="" if expect or not claims else _why_unverified(links))


def _hook(link: Link, scene: Scene) -> str | None:
    """``in`` where the link arrives here, ``out`` where it leaves here and nobody could cut it there."""
    here, topology = scene.node.name, scene.topology
    arrives, leaves = _nodes(link.to, topology), _nodes(link.from_, topology)
    if here in arrives:
        return "in" if link.from_ != here else None
    if here in leaves and not arrives:
        return "out"
    return None


def _nodes(end: str, topology: Topology) -> set[str]:
    """The nodes with an agent that an end stands for; none for a network or name."""
    agents = set(topology.agents())
    if end.startswith("!"):
        return agents - {end[1:]} if end[1:] in topology.nodes else set()
    return {end} & agents


def _addresses(end: str, facts: Addresses) -> list[str]:
    bare = end.removeprefix("!")
    network = None if bare in facts.of else network_of(bare)
    meant = [network] if network is not None else [_single(address) for address in facts.of[bare]]
    if bare == end and (network is None or network.num_addresses == 1):
        return [str(each) for each in meant]
    own = [_single(address) for address in facts.own]
    if bare != end:
        meant = without(EVERYWHERE, [*meant, *MULTICAST])
    return collapsed(map(str, without(meant, [*own, *LOOPBACK])))


def _single(address: str) -> Network:
    network = network_of(address)
    assert network is not None, address
    return network


def _want(link: Link, hook: str, remote: Sequence[str], scene: Scene, facts: Addresses) -> dict[str, Json]:
    ports = list(link.ports)
    probed = (scene.probe_ports or {}).get(scene.node.name if hook == "in" else link.to)
    if ports and probed:
        ports.append(str(probed))
    return {
        "hook": hook,
        "addresses": list(remote),
        "local": _local(scene, facts),
        "protocol": link.protocol,
        "ports": _merged(ports),
        "connections": link.connections,
        "action": link.action,
        "link": f"{link.from_} → {link.to}",
    }


def _local(scene: Scene, facts: Addresses) -> list[str]:
    """The node's own addresses, where another node shares its network namespace; else whatever is its own."""
    others = (node for name, node in scene.topology.nodes.items() if name != scene.node.name)
    shared = any(
        is_own(address, facts.own)
        for other in others
        for address in literal_addresses(other) | set(facts.of.get(other.name, ()))
    )
    return list(facts.of[scene.node.name]) if shared else []


def _merged(ports: Sequence[str]) -> list[str]:
    """Ranges of ports that do not overlap, which nftables would refuse."""
    ranges: list[list[int]] = []
    for low, high in sorted((int(port.partition("-")[0]), int(port.rpartition("-")[2])) for port in ports):
        if ranges and low <= ranges[-1][1] + 1:
            ranges[-1][1] = max(ranges[-1][1], high)
        else:
            ranges.append([low, high])
    return [str(low) if low == high else f"{low}-{high}" for low, high in ranges]


def _claim(want: dict[str, Json], term: Term) -> Claim:
    key = key_of(want)
    digest = zlib.crc32(f"{key} {want['addresses']}".encode())
    return Claim(f"{term.worker_id}/{want['link']}/{digest:08x}", "nft", key, want, term)


def _check_told_apart(link: Link, scene: Scene, facts: Addresses) -> None:
    """Raises SpecError when both ends are nodes that share an address, and no ports tell them apart."""
    nodes = scene.topology.nodes
    if link.ports or link.from_ not in nodes or link.to not in nodes:
        return
    shared = sorted(set(facts.of[link.from_]) & set(facts.of[link.to]))
    if shared:
        first, second = sorted((link.from_, link.to))
        raise SpecError(
            f"Nodes {first} and {second} share the address {shared[0]}: they cannot be parted "
            "(a CutLinksFaultSpec with ports can tell them apart)"
        )


def _expected(link: Link, scene: Scene) -> Iterator[LinkCut]:
    """What this node's agent should not hear any more: other agents, where its probe's port is cut with the rest."""
    here = scene.node.name
    is_new = link.connections == "new"
    if (link.protocol == "icmp" and is_new) or (link.ports and here not in (scene.probe_ports or {})):
        return
    if here in _nodes(link.to, scene.topology):
        for source in sorted(_nodes(link.from_, scene.topology) - {here}):
            yield LinkCut(source, here, link.protocol, link.ports, is_new)


def _why_unverified(links: Sequence[Link]) -> str:
    if any(link.protocol == "icmp" for link in links):
        return "an answer to an ICMP echo is never the first packet of its connection"
    if any(link.ports for link in links):
        return "no probe port to be cut beside the ports asked for"
    return "one end of the link has no agent of ours"


CHECKED_BY = "Beacons and connections of the other nodes' agents do not arrive while it holds, and arrive again after."

FAULTS = (
    Fault(
        spec=NetworkPartitionFaultSpec,
        facts=partition_facts,
        plan=plan_partition,
        text=("created network partition {task_id}", "removed network partition {task_id}"),
        kinds=("nft",),
        checked_by=CHECKED_BY,
        replan_ms=REPLAN_MS,
    ),
    Fault(
        spec=CutLinksFaultSpec,
        facts=links_facts,
        plan=plan_links,
        text=("cut links {task_id}", "restored links {task_id}"),
        kinds=("nft",),
        checked_by=CHECKED_BY,
        replan_ms=REPLAN_MS,
    ),
)
