"""``trogdor partition``: parts nodes, or cuts links between any two ends."""

import enum
import ipaddress
from typing import Annotated, Any

import typer

from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.target import Target, complete_node
from trogdor.cli.verb import verb

PARTITION = "org.apache.kafka.trogdor.fault.NetworkPartitionFaultSpec"
CUT_LINKS = "trogdor.fault.CutLinksFaultSpec"


class Protocol(enum.StrEnum):
    """Which packets."""

    ANY = "any"
    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"


Ports = Annotated[
    str | None, typer.Option("--ports", help="Only these ports of the receiving end: 9092 or 9092-9094,2181.")
]
OnlyProtocol = Annotated[Protocol, typer.Option("--protocol", help="Only these packets; tcp when --ports is given.")]


class Shape(enum.StrEnum):
    """A partition of all the nodes given, or of all there are."""

    HALVES = "halves"
    BRIDGE = "bridge"
    RING = "ring"


@verb("partition")
def command(
    *,
    ends: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[END… / END…]",
            autocompletion=complete_node,
            help="Groups with / between them. An end is a node, an address, a CIDR, a DNS name, or ! and one of these.",
        ),
    ] = None,
    one_way: Annotated[
        bool, typer.Option("--one-way", help="Only what the first group sends to the second is lost.")
    ] = False,
    ports: Ports = None,
    protocol: OnlyProtocol = Protocol.ANY,
    new_only: Annotated[bool, typer.Option("--new-only", help="Established connections go on.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Tell the sender at once, where drop lets it wait.")] = False,
    cut_control: Annotated[
        bool, typer.Option("--cut-control", help="Cut the coordinator's own traffic to the agents too.")
    ] = False,
    isolate: Annotated[
        str | None, typer.Option("--isolate", metavar="NODE", help="Part this node from all others.")
    ] = None,
    shape: Annotated[
        Shape | None,
        typer.Option("--shape", help="halves; bridge: two halves and a node that reaches both; ring: majorities ring."),
    ] = None,
    target: Target = None,
) -> dict[str, Any]:
    """Parts nodes from each other, or cuts links between them.

    trogdor partition n1 / n2 n3 --for 30s

    trogdor partition n1 / n2 --one-way --ports 2379 --new-only

    trogdor partition --isolate n1

    It stays in the foreground and heals at the end, on Ctrl-C, and within 5 s when it is killed.
    """
    terms = link_terms(ports, protocol, new_only=new_only, reject=reject)
    groups = groups_of(ends or [], isolate, shape, target)
    try:
        return spec_of(groups, shape, terms, one_way=one_way, cut_control=cut_control)
    except ValueError as error:
        raise Failure(ExitCode.BAD_USAGE, say_invalid(error)) from None


def groups_of(ends: list[str], isolate: str | None, shape: Shape | None, target: str | None) -> list[list[str]]:
    """The groups that are parted; for a shape the one group that it is made of. Raises Failure."""
    if (isolate and (ends or shape)) or not (isolate or shape or ends):
        raise Failure(
            ExitCode.BAD_USAGE,
            "say what to part, in one of these ways: n1 / n2 n3, --isolate n1, --shape halves [NODE…]",
        )
    if isolate:
        return [[isolate], [name for name in agent_nodes(target) if name != isolate]]
    groups = split(ends) if ends else [agent_nodes(target)]
    if (len(groups) == 1) != (shape is not None):
        raise Failure(
            ExitCode.BAD_USAGE,
            "a shape takes one group of nodes" if shape else "two groups at least: trogdor partition n1 / n2 n3",
        )
    return groups


def spec_of(
    groups: list[list[str]], shape: Shape | None, terms: dict[str, Any], *, one_way: bool, cut_control: bool
) -> dict[str, Any]:
    """Upstream's spec where it can say it: whole groups of nodes, both ways. Else our own, link by link.

    Raises ValueError for what cannot be.
    """
    from trogdor.compose import partition

    if not (shape or terms or one_way or cut_control) and all(_may_be_node(end) for group in groups for end in group):
        return {"class": PARTITION, "partitions": groups}
    if shape:
        shapes = {Shape.HALVES: partition.halves, Shape.BRIDGE: partition.bridge, Shape.RING: partition.majority_ring}
        links = shapes[shape](groups[0])
    elif one_way:
        if len(groups) != 2:
            raise ValueError(f"--one-way goes from one group to another: two groups, not {len(groups)}")
        links = partition.one_way(*groups)
    else:
        links = partition.parted(groups)
    if not links:
        raise ValueError(f"of {' '.join(groups[0])} nothing would be cut: more nodes are needed")
    spec: dict[str, Any] = {
        "class": CUT_LINKS,
        "links": [{"from": link.from_, "to": link.to, **terms} for link in links],
    }
    return {**spec, "controlTraffic": "cut"} if cut_control else spec


def say_invalid(error: ValueError) -> str:
    """What is wrong with an end, in its own words, where it is a spec that found it."""
    details: list[dict[str, Any]] = getattr(error, "errors", list)()
    return "; ".join(str(detail["msg"]).removeprefix("Value error, ") for detail in details) or str(error)


def split(ends: list[str]) -> list[list[str]]:
    """The groups between the slashes. Raises Failure for an empty one, or an end named twice."""
    groups: list[list[str]] = [[]]
    for end in ends:
        if end == "/":
            groups.append([])
        elif "/" in end and not is_network(end.removeprefix("!")):
            raise Failure(ExitCode.BAD_USAGE, f"{end}: put spaces around the /")
        else:
            groups[-1].append(end)
    if not all(groups):
        raise Failure(ExitCode.BAD_USAGE, "an end is missing on one side of /: write n1 / n2 n3")
    named = [end for group in groups for end in group]
    repeated = sorted({end for end in named if named.count(end) > 1})
    if repeated:
        raise Failure(ExitCode.BAD_USAGE, f"{', '.join(repeated)}: named more than once")
    return groups


def link_terms(
    ports: str | None, protocol: Protocol, *, new_only: bool = False, reject: bool = False
) -> dict[str, Any]:
    """What the links say beside their ends; empty for a whole partition. Raises Failure for ports of ICMP."""
    terms: dict[str, Any] = {}
    if ports and protocol is Protocol.ICMP:
        raise Failure(ExitCode.BAD_USAGE, "--ports: icmp has none, --protocol tcp or udp is wanted")
    if ports:
        terms["ports"] = [port.strip() for port in ports.split(",")]
        protocol = Protocol.TCP if protocol is Protocol.ANY else protocol
    if protocol is not Protocol.ANY:
        terms["protocol"] = protocol.value
    if new_only:
        terms["connections"] = "new"
    if reject:
        terms["action"] = "reject"
    return terms


def agent_nodes(target: str | None) -> list[str]:
    """All nodes that have an agent, as the coordinator knows them."""
    from trogdor.cli.target import coordinator

    with coordinator(target) as client:
        return sorted(client.nodes())


def _may_be_node(end: str) -> bool:
    return not end.startswith("!") and "." not in end and not is_network(end)


def is_network(end: str) -> bool:
    """Whether an end is an address or a CIDR: surely no node."""
    try:
        ipaddress.ip_network(end, strict=False)
    except ValueError:
        return False
    return True
