"""Faults of the network: partitions, cut links, degraded devices."""

import ipaddress
import re
from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictFloat, StrictInt, StrictStr

from trogdor.spec.base import Document, Spec, SpecError, require_known
from trogdor.spec.jackson import Int, ListOf, MapOf, String, Strings
from trogdor.topology import Topology

MAX_LINKS = 10_000


class NetworkPartitionFaultSpec(Spec, name="org.apache.kafka.trogdor.fault.NetworkPartitionFaultSpec"):
    """Parts the nodes: none of one list can reach any of another list, both ways, all protocols."""

    example: ClassVar[dict[str, Any]] = {"partitions": [["n1"], ["n2", "n3"]]}

    partitions: Annotated[tuple[Strings, ...], ListOf] = Field((), description="Lists of node names.")

    def check(self, topology: Topology) -> None:
        seen: set[str] = set()
        for partition in self.partitions:
            for name in partition:
                if name in seen:
                    raise SpecError(f"Node {name} appears in more than one partition.")
                seen.add(name)

    def target_nodes(self, topology: Topology) -> list[str]:
        return require_known([name for partition in self.partitions for name in partition], topology)

    def seen_from(self, topology: Topology) -> Collection[str]:
        return {name for partition in self.partitions for name in partition}


_DNS_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?")


def _end(text: str) -> str:
    bare = text.removeprefix("!")
    if not _DNS_NAME.fullmatch(bare):
        try:
            ipaddress.ip_network(bare, strict=False)
        except ValueError:
            raise ValueError(
                f"{text!r} is no node, address, CIDR or DNS name (with ! before it: all but that)"
            ) from None
    return text


def _port_as_text(value: Any) -> Any:
    """One port may be a number."""
    return str(value) if type(value) is int else value


def _port_range(text: str) -> str:
    low, dash, high = text.partition("-")
    ports = [low, high] if dash else [low]
    if not all(port.isdecimal() and 1 <= int(port) <= 65535 for port in ports) or (dash and int(low) > int(high)):
        raise ValueError(f"{text!r} is no port (9092) and no range of ports (9092-9094)")
    return text


End = Annotated[StrictStr, AfterValidator(_end)]
Ports = Annotated[StrictStr, BeforeValidator(_port_as_text), AfterValidator(_port_range)]


class Link(Document):
    """One direction between two ends, or a part of its traffic."""

    from_: End = Field(alias="from", description="A node, an address, a CIDR, a DNS name, or ! and one of these.")
    to: End = Field(description="The same.")
    ports: tuple[Ports, ...] = Field((), max_length=64, description='Ports of the receiving end: "9092", "9092-9094".')
    protocol: Literal["any", "tcp", "udp", "icmp"] = Field("any", description="Ports ask for tcp or udp.")
    connections: Literal["all", "new"] = Field("all", description="new: established connections go on.")
    action: Literal["drop", "reject"] = Field("drop", description="reject: the sender is told at once.")


class CutLinksFaultSpec(Spec, name="trogdor.fault.CutLinksFaultSpec"):
    """Cuts directed links: one way, some ports, one protocol, new connections only; ends need not be nodes."""

    example: ClassVar[dict[str, Any]] = {"links": [{"from": "n1", "to": "n2", "ports": ["2379"], "protocol": "tcp"}]}

    links: tuple[Link, ...] = Field(max_length=MAX_LINKS, min_length=1, description="The links to cut.")
    control_traffic: Literal["keep", "cut"] = Field(
        "keep",
        description="cut: the flows between coordinator and agent are cut too, where a link covers them.",
    )

    def check(self, topology: Topology) -> None:
        problems = [
            f"links[{index}].ports: ports need protocol tcp or udp"
            for index, link in enumerate(self.links)
            if link.ports and link.protocol not in ("tcp", "udp")
        ]
        if problems:
            raise SpecError("; ".join(problems))

    def target_nodes(self, topology: Topology) -> list[str]:
        """Each link is cut where it arrives, and where that end has no agent, where it leaves."""
        agents = set(topology.agents())
        targets: set[str] = set()
        for index, link in enumerate(self.links):
            ends = [_agents_of(link.to, agents), _agents_of(link.from_, agents)]
            at = ends[0] or ends[1]
            if not at:
                raise SpecError(f"links[{index}]: neither {link.from_} nor {link.to} has an agent to cut it")
            targets |= at
        return sorted(targets)

    def seen_from(self, topology: Topology) -> Collection[str]:
        agents = set(topology.agents())
        return {name for link in self.links for name in _agents_of(link.from_, agents)}


def _agents_of(end: str, agents: set[str]) -> set[str]:
    if end.startswith("!"):
        return agents - {end[1:]} if end[1:] in agents else set()
    return {end} & agents


MOST_SENDERS = 4
"""Three others for each node."""


class NodeDegradation(Document):
    """What upstream's DegradedNetworkFaultSpec does to one node's device."""

    network_device: String = Field("", description="The device, such as eth0.")
    latency_ms: Int = Field(0, description="Added to each outgoing packet, in ms.")
    rate_limit_kbit: Int = Field(0, description="The most the device sends, in kbit/s; 0: no limit.")


class DegradedNetworkFaultSpec(Spec, name="org.apache.kafka.trogdor.fault.DegradedNetworkFaultSpec"):
    """Slows a node's network device down."""

    example: ClassVar[dict[str, Any]] = {
        "nodeSpecs": {"n1": {"networkDevice": "eth0", "latencyMs": 50, "rateLimitKbit": 1000}}
    }

    node_specs: Annotated[dict[str, NodeDegradation], MapOf] = Field({}, description="Node → what is done to it.")

    def target_nodes(self, topology: Topology) -> list[str]:
        return require_known(list(self.node_specs), topology)

    def seen_from(self, topology: Topology) -> Collection[str]:
        return topology.agents()[:MOST_SENDERS]


Percent = Annotated[StrictFloat | StrictInt, Field(ge=0, le=100)]
Milliseconds = Annotated[StrictFloat | StrictInt, Field(ge=0, le=60_000)]


class LinkDegradation(Document):
    """What is done to the packets of one direction between two ends."""

    from_: End = Field(alias="from", description="A node, an address, a CIDR or a DNS name.")
    to: End = Field(description="The same.")
    ports: tuple[Ports, ...] = Field((), max_length=64, description='Ports of the receiving end: "9092", "9092-9094".')
    protocol: Literal["any", "tcp", "udp", "icmp"] = Field("any", description="Ports ask for tcp or udp.")
    delay_ms: Milliseconds = Field(0, description="Each packet is held back so long, in ms.")
    jitter_ms: Milliseconds = Field(
        0, description="The delay varies by so much: ± uniformly, or as σ; reorders packets."
    )
    distribution: Literal["uniform", "normal"] = Field("uniform", description="How the jitter is drawn.")
    loss_percent: Percent = Field(0, description="So many of 100 packets are lost.")
    burst: Annotated[StrictFloat | StrictInt, Field(ge=1, le=10_000)] = Field(
        1, description="Lost packets come in runs of this mean length (Gilbert's model)."
    )
    corrupt_percent: Percent = Field(0, description="So many of 100 arrive with a bit flipped; checksums find most.")
    duplicate_percent: Percent = Field(0, description="So many of 100 arrive twice.")
    reorder_percent: Percent = Field(0, description="So many of 100 are not delayed and overtake the others.")
    rate_kbit: StrictInt = Field(0, ge=0, le=100_000_000, description="The most that is sent, in kbit/s; 0: no limit.")

    @property
    def is_queued(self) -> bool:
        """Whether the receiving end has anything to do: all but the rate, which the sending end limits."""
        return bool(
            self.delay_ms or self.jitter_ms or self.loss_percent or self.corrupt_percent or self.duplicate_percent
        )


class DegradedLinksFaultSpec(Spec, name="trogdor.fault.DegradedLinksFaultSpec"):
    """Slows directed links down: delay with jitter, loss alone or in bursts, corruption, copies, reordering, rate.

    Delay, loss and damage happen where a link arrives, the rate is limited where it leaves.
    """

    example: ClassVar[dict[str, Any]] = {"links": [{"from": "n1", "to": "n2", "delayMs": 100, "jitterMs": 10}]}

    links: tuple[LinkDegradation, ...] = Field(
        max_length=MAX_LINKS, min_length=1, description="The links to slow down."
    )
    seed: StrictInt = Field(0, description="Of the random choices.")

    def check(self, topology: Topology) -> None:
        problems = []
        for index, link in enumerate(self.links):
            if link.ports and link.protocol not in ("tcp", "udp"):
                problems.append(f"links[{index}].ports: ports need protocol tcp or udp")
            if not link.is_queued and not link.rate_kbit:
                problems.append(
                    f"links[{index}]: one of delayMs, jitterMs, lossPercent, corruptPercent, "
                    "duplicatePercent, rateKbit is needed"
                )
            if link.reorder_percent and not link.delay_ms:
                problems.append(f"links[{index}].reorderPercent: packets overtake only where delayMs holds others back")
            problems += [
                f"links[{index}].{end}: ! is not for slow links: name the ends"
                for end, name in (("from", link.from_), ("to", link.to))
                if name.startswith("!")
            ]
        if problems:
            raise SpecError("; ".join(problems))

    def target_nodes(self, topology: Topology) -> list[str]:
        """The receiving ends of what is queued, the sending ends of what has a rate."""
        agents = set(topology.agents())
        targets: set[str] = set()
        for index, link in enumerate(self.links):
            for needed, end, does in ((link.is_queued, link.to, "delays"), (link.rate_kbit, link.from_, "limits")):
                if needed and end not in agents:
                    lacks = "has no agent" if end in topology.nodes else "is no node"
                    raise SpecError(
                        f"links[{index}]: {end} {lacks}, and it is the end that {does} packets; "
                        f"one of these can: {', '.join(sorted(agents))}"
                    )
                if needed:
                    targets.add(end)
        return sorted(targets)

    def seen_from(self, topology: Topology) -> Collection[str]:
        return {link.from_ for link in self.links} | {link.to for link in self.links if link.rate_kbit}
