"""Plans of degraded networks: what is queued where it arrives, what is limited where it leaves.

Upstream's fault delays what a device sends, by netem; where the kernel has none, what arrives on the device is held
back instead, which a conversation cannot tell apart. The targets of the status say which.
"""

import socket
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trogdor.claim.model import CannotInject, Claim, Json, Term
from trogdor.platform.base import Fault, Plan, Scene
from trogdor.platform.linux.addresses import Addresses, addresses_of, look_up, network_of
from trogdor.platform.linux.kernel import device_towards, has_netem
from trogdor.platform.linux.queue import KEY
from trogdor.probe.expect import Expectation, LinkCut, LinkLossy, LinkNarrow, LinkReordered, LinkSlow
from trogdor.probe.narrow import LEAST_KBIT, MOST_KBIT, can_be_told
from trogdor.probe.network import MAX_PEERS
from trogdor.probe.reordered import can_be_seen
from trogdor.spec import SpecError
from trogdor.spec.network import DegradedLinksFaultSpec, DegradedNetworkFaultSpec, LinkDegradation, NodeDegradation

MOST_OVERTAKING = 0.9
"""Where more packets overtake, too few are held back to tell a delay."""


@dataclass(frozen=True)
class Device:
    """How a device of this node can be slowed, and who can see that."""

    netem: bool
    """Whether the kernel can delay what it sends."""
    peers: Sequence[str] = ()
    """Nodes whose agents send beacons over it."""


@dataclass(frozen=True)
class Roads:
    """The addresses of the links' ends, and the device that packets to each of those with a rate leave by."""

    addresses: Addresses
    devices: Mapping[str, str]


def device_facts(spec: DegradedNetworkFaultSpec, scene: Scene) -> Device:
    """Looks at the device. Raises CannotInject where there is none."""
    wanted = spec.node_specs.get(scene.node.name)
    with scene.place.entered():
        devices = [name for _, name in socket.if_nameindex()]
    if wanted is None or not wanted.network_device:
        return Device(has_netem())
    if wanted.network_device not in devices:
        raise CannotInject(f"there is no network device {wanted.network_device!r} here, but {', '.join(devices)}")
    others = [name for name in scene.probe_ports or () if name != scene.node.name]
    peers = [name for name in others[:MAX_PEERS] if _is_reached_by(wanted.network_device, name, scene)]
    return Device(has_netem(), peers)


def _is_reached_by(device: str, peer: str, scene: Scene) -> bool:
    """Whether each address of a node is, so that nothing of it arrives elsewhere."""
    try:
        addresses = addresses_of(scene.topology.nodes[peer])
        return all(device_towards(address, scene.place) == device for address in addresses)
    except CannotInject:
        return False


def plan_device(spec: DegradedNetworkFaultSpec, scene: Scene, facts: Device, term: Term) -> Plan:
    """Upstream's: a rate and a delay for one device of this node."""
    wanted = spec.node_specs.get(scene.node.name)
    if wanted is None:
        raise SpecError(f"nodeSpecs: nothing is asked for of node {scene.node.name}")
    if not wanted.network_device or wanted.latency_ms < 0 or wanted.rate_limit_kbit < 0:
        raise SpecError(
            f"nodeSpecs.{scene.node.name}: networkDevice is needed, and latencyMs and rateLimitKbit from 0 on"
        )
    claims, targets = [], []
    if wanted.rate_limit_kbit:
        want = {"match": None, "rateKbit": wanted.rate_limit_kbit}
        claims.append(_claim("qdisc", wanted.network_device, want, term))
        targets.append(f"{wanted.network_device}: sends at most {wanted.rate_limit_kbit} kbit/s (htb)")
    if wanted.latency_ms:
        claim, target = _latency(wanted, scene, facts.netem, term)
        claims.append(claim)
        targets.append(target)
    rate, delay = _over_device(wanted, facts, scene.node.name)
    unseen = {"the rate": wanted.rate_limit_kbit and not rate, "the delay": wanted.latency_ms and not delay}
    whys = [f"not probed: {what}" for what, is_unseen in unseen.items() if is_unseen]
    if rate or delay:
        return Plan(claims, [*rate, *delay], targets, notes=whys)
    return Plan(claims, (), targets, unverified="; ".join(whys))


def _over_device(wanted: NodeDegradation, facts: Device, here: str) -> tuple[list[Expectation], list[Expectation]]:
    """What a train to one of its peers meets of a rate, and what the peers' beacons meet of a delay."""
    rate_kbit, delay_ms = wanted.rate_limit_kbit, float(wanted.latency_ms)
    rate = [LinkNarrow(here, peer, rate_kbit) for peer in facts.peers[:1] if can_be_told(rate_kbit)]
    delay = [LinkSlow(peer, here, delay_ms, 0.0) for peer in facts.peers if delay_ms and not facts.netem]
    return [*rate], [*delay]


def _latency(wanted: NodeDegradation, scene: Scene, netem: bool, term: Term) -> tuple[Claim, str]:
    device, delay_ms = wanted.network_device, wanted.latency_ms
    if netem:
        claim = _claim("qdisc", device, {"match": None, "netem": f"delay {delay_ms}ms limit 100000"}, term)
        return claim, f"{device}: {delay_ms} ms on what it sends (netem)"
    want = {"sources": [], "device": device, "delayMs": delay_ms, "exempt": _exempt(scene)}
    return _claim("queue", KEY, want, term), f"{device}: {delay_ms} ms on what it receives (packet queue)"


def links_facts(spec: DegradedLinksFaultSpec, scene: Scene) -> Roads:
    """The addresses of every end that is a node or a DNS name."""
    ends = {end for link in spec.links for end in (link.from_, link.to)}
    names = {end for end in ends if end in scene.topology.nodes or network_of(end) is None}
    addresses = look_up(names, scene.topology, scene.place)
    limited = {link.to for link in spec.links if link.rate_kbit and link.from_ == scene.node.name}
    towards = {address for end in limited for address in addresses.of.get(end, (end,))}
    return Roads(addresses, {address: device_towards(address.partition("/")[0], scene.place) for address in towards})


def plan_links(spec: DegradedLinksFaultSpec, scene: Scene, facts: Roads, term: Term) -> Plan:
    """A claim on the packet queue for what arrives here, one on the device for what leaves here at a rate."""
    claims: list[Claim] = []
    expect: list[Expectation] = []
    targets: list[str] = []
    unseen: list[str] = []
    for link in spec.links:
        if link.is_queued and link.to == scene.node.name:
            claims.append(_claim("queue", KEY, _queued(link, spec.seed, scene, facts), term))
            targets.append(f"{link.from_} → {link.to}: {_words(link)} (packet queue)")
            looked_at = _expected(link, scene)
            expect += looked_at
            unseen += [f"{link.from_} → {link.to}: {what}" for what in _unseen(link, looked_at)]
        if link.rate_kbit and link.from_ == scene.node.name:
            claims += [_claim("qdisc", device, want, term) for device, want in _limited(link, facts)]
            targets.append(f"{link.from_} → {link.to}: at most {link.rate_kbit} kbit/s (htb)")
            looked_at = _narrow(link, scene)
            expect += looked_at
            unseen += [] if looked_at else [f"{link.from_} → {link.to}: the rate"]
    if not expect:
        return Plan(claims, expect, targets, unverified=_why_unverified(spec.links, scene) if claims else "")
    return Plan(claims, expect, targets, notes=[f"not probed: {what}" for what in unseen])


def _queued(link: LinkDegradation, seed: int, scene: Scene, facts: Roads) -> Json:
    ports = list(link.ports)
    probed = (scene.probe_ports or {}).get(link.to)
    return {
        "sources": _addresses(link.from_, facts),
        "protocol": link.protocol,
        "ports": [*ports, str(probed)] if ports and probed else ports,
        "delayMs": link.delay_ms,
        "jitterMs": link.jitter_ms,
        "distribution": link.distribution,
        "lossPercent": link.loss_percent,
        "burst": link.burst,
        "corruptPercent": link.corrupt_percent,
        "duplicatePercent": link.duplicate_percent,
        "reorderPercent": link.reorder_percent,
        "seed": seed,
        "exempt": _exempt(scene),
    }


def _limited(link: LinkDegradation, facts: Roads) -> list[tuple[str, Json]]:
    what = {"protocol": link.protocol, "ports": list(link.ports)}
    return [
        (facts.devices[address], {"match": {"to": str(network_of(address)), **what}, "rateKbit": link.rate_kbit})
        for address in _addresses(link.to, facts)
    ]


def _addresses(end: str, facts: Roads) -> list[str]:
    return list(facts.addresses.of[end]) if end in facts.addresses.of else [end]


def _exempt(scene: Scene) -> list[list[Json]]:
    return [list(flow) for flow in scene.exempt]


def _claim(kind: str, key: str, want: Json, term: Term) -> Claim:
    return Claim(f"{term.worker_id}/{kind}/{zlib.crc32(repr((key, want)).encode()):08x}", kind, key, want, term)


def _words(link: LinkDegradation) -> str:
    parts = [
        f"{value:g} {unit}"
        for value, unit in (
            (link.delay_ms, "ms"), (link.jitter_ms, "ms jitter"), (link.loss_percent, "% lost"),
            (link.corrupt_percent, "% damaged"), (link.duplicate_percent, "% twice, by a raw socket over lo"),
            (link.reorder_percent, "% overtaking"),
        )
        if value
    ]  # fmt: skip
    return ", ".join(parts)


def _expected(link: LinkDegradation, scene: Scene) -> list[Expectation]:
    """A link that loses everything is a cut to whoever looks; all else is seen of what beacons meet."""
    if link.from_ not in scene.topology.agents() or (link.ports and link.to not in (scene.probe_ports or {})):
        return []
    if link.loss_percent >= 100:
        return [LinkCut(link.from_, link.to, link.protocol, link.ports)]
    ends, delay_ms, jitter_ms = (link.from_, link.to), float(link.delay_ms), float(link.jitter_ms)
    overtaking = link.reorder_percent / 100
    expect: list[Expectation] = []
    if delay_ms and overtaking <= MOST_OVERTAKING:
        expect.append(LinkSlow(*ends, delay_ms, jitter_ms, link.protocol, overtaking))
    reordered = LinkReordered(*ends, delay_ms, jitter_ms, overtaking)
    if link.protocol in ("any", "udp") and can_be_seen(reordered):
        expect.append(reordered)
    lost, twice = _lost(link), 0.0 if link.protocol == "tcp" else link.duplicate_percent / 100
    if lost or twice:
        expect.append(LinkLossy(*ends, lost, twice, link.protocol, delay_ms + 4 * jitter_ms))
    return expect


def _narrow(link: LinkDegradation, scene: Scene) -> list[Expectation]:
    """What a train of UDP to the far end's agent meets."""
    met = link.protocol in ("any", "udp") and not link.ports and link.to in scene.topology.agents()
    return [LinkNarrow(link.from_, link.to, link.rate_kbit)] if met and can_be_told(link.rate_kbit) else []


def _lost(link: LinkDegradation) -> float:
    """The chance that a beacon does not arrive that follows one that did.

    A run of losses begins as Gilbert's model in ``netqueue`` says; checksums find a flipped bit.
    """
    lost = link.loss_percent / 100
    if link.burst > 1:
        lost = min(1.0, lost / link.burst / (1 - lost))
    return 1 - (1 - lost) * (1 - link.corrupt_percent / 100)


def _unseen(link: LinkDegradation, looked_at: Sequence[Expectation]) -> list[str]:
    """What of a link no probe looks at."""
    if not looked_at:
        return [_words(link)]
    kinds = {type(each) for each in looked_at}
    unseen = (
        (link.delay_ms and LinkSlow not in kinds, "the delay"),
        (link.jitter_ms and LinkReordered not in kinds, "jitter"),
        (link.reorder_percent and (link.jitter_ms or LinkReordered not in kinds), "overtaking"),
        (link.duplicate_percent and link.protocol == "tcp", "copies"),
    )
    return [] if LinkCut in kinds else [name for asked, name in unseen if asked]


def _why_unverified(links: Sequence[LinkDegradation], scene: Scene) -> str:
    queued = [link for link in links if link.is_queued and link.to == scene.node.name]
    if not queued:
        return f"rates are probed from {LEAST_KBIT} to {MOST_KBIT} kbit/s, of UDP to an agent of ours, on all ports"
    if any(link.from_ not in scene.topology.agents() for link in queued):
        return "delays, losses and damage are probed between two agents of ours"
    return f"not probed: {', '.join(_words(link) for link in queued)}"


FAULTS = (
    Fault(
        spec=DegradedNetworkFaultSpec,
        facts=device_facts,
        plan=plan_device,
        text=("enabled network degradation {task_id}", "disabled network degradation {task_id}"),
        kinds=("qdisc", "queue"),
        checked_by=(
            "By agents that are reached by the device and no other: their beacons arrive later, where the latency is "
            "on what it receives, and a train to one of them arrives at the rate (250 kbit/s to 10 Mbit/s). All else: "
            "unverified."
        ),
    ),
    Fault(
        spec=DegradedLinksFaultSpec,
        facts=links_facts,
        plan=plan_links,
        text=("slowed links {task_id}", "restored links {task_id}"),
        kinds=("qdisc", "queue"),
        checked_by=(
            "Beacons of the other nodes' agents arrive later, by the delay asked for; they overtake each other (jitter "
            "of 10 ms or more); so many of them are lost or come twice as was asked for (1 % or more), or all; a train "
            "of them arrives at the rate (250 kbit/s to 10 Mbit/s). A flipped bit is a loss to them. Other rates, "
            "smaller jitter, that of TCP or ICMP alone: unverified; beside what is seen, a note says so."
        ),
    ),
)
