"""``trogdor slow``: slows links between nodes down."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trogdor.cli import options
from trogdor.cli.duration import parse_delay_ms, whole
from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.partition import (
    OnlyProtocol,
    Ports,
    Protocol,
    agent_nodes,
    is_network,
    link_terms,
    say_invalid,
    split,
)
from trogdor.cli.quantity import parse_percent, parse_rate_kbit
from trogdor.cli.target import Target, complete_node
from trogdor.cli.verb import verb

if TYPE_CHECKING:
    from trogdor.spec.network import Link

DEGRADED_LINKS = "trogdor.fault.DegradedLinksFaultSpec"

READ = {
    "--delay": ("delayMs", parse_delay_ms),
    "--jitter": ("jitterMs", parse_delay_ms),
    "--loss": ("lossPercent", parse_percent),
    "--corrupt": ("corruptPercent", parse_percent),
    "--duplicate": ("duplicatePercent", parse_percent),
    "--reorder": ("reorderPercent", parse_percent),
    "--rate": ("rateKbit", parse_rate_kbit),
}
"""Option → the field of a link that it fills, and what reads it."""
NEEDS = {"--normal": "--jitter", "--burst": "--loss", "--reorder": "--delay"}
"""Options that say nothing without another one."""


@verb("slow")
def command(
    *,
    ends: Annotated[
        list[str],
        typer.Argument(
            metavar="END… [/ END…]",
            autocompletion=complete_node,
            help="Groups with / between them; without one, every link between the ends given, and of one node all its "
            "links. An end is a node, an address, a CIDR or a DNS name.",
        ),
    ],
    delay: Annotated[str | None, typer.Option(metavar="TIME", help="Hold each packet back so long, each way.")] = None,
    jitter: Annotated[
        str | None, typer.Option(metavar="TIME", help="The delay varies by so much, which reorders packets.")
    ] = None,
    normal: Annotated[bool, typer.Option("--normal", help="The jitter is a deviation, not a uniform range.")] = False,
    loss: Annotated[str | None, typer.Option(metavar="PERCENT", help="Lose so many packets: 5%.")] = None,
    burst: Annotated[
        float | None, typer.Option(metavar="PACKETS", help="Lose them in runs of this mean length; 1 if unset.")
    ] = None,
    corrupt: Annotated[str | None, typer.Option(metavar="PERCENT", help="Flip a bit in so many packets.")] = None,
    duplicate: Annotated[str | None, typer.Option(metavar="PERCENT", help="Let so many packets arrive twice.")] = None,
    reorder: Annotated[
        str | None, typer.Option(metavar="PERCENT", help="So many are not delayed, and overtake the others.")
    ] = None,
    rate: Annotated[str | None, typer.Option(metavar="RATE", help="Send no more than 500kbit, 1mbit, 1gbit.")] = None,
    ports: Ports = None,
    protocol: OnlyProtocol = Protocol.ANY,
    one_way: Annotated[bool, typer.Option("--one-way", help="Only what the first group sends to the second.")] = False,
    to: Annotated[str | None, typer.Option(metavar="END,…", help="The second group: the same as after a /.")] = None,
    seed: options.Seed = None,
    target: Target = None,
) -> dict[str, Any]:
    """Slows links down, both ways: delay, jitter, loss, damage, copies, reordering, a rate: in the words of netem.

    trogdor slow n1 n2 --delay 100ms --jitter 10ms --for 30s

    trogdor slow n1 / n2 n3 --loss 5% --burst 8

    trogdor slow n1 / n2 --one-way --rate 1mbit --ports 9092

    Each direction is delayed, so a round trip takes twice the delay longer.
    """
    texts = {
        "--delay": delay, "--jitter": jitter, "--loss": loss, "--corrupt": corrupt, "--duplicate": duplicate,
        "--reorder": reorder, "--rate": rate,
    }  # fmt: skip
    values = options.read({option: (text, READ[option][1]) for option, text in texts.items()})
    terms: dict[str, Any] = {READ[option][0]: value for option, value in values.items()}
    if normal:
        values["--normal"] = terms["distribution"] = "normal"
    if burst is not None:
        values["--burst"] = terms["burst"] = whole(burst)
    refuse_idle(values)
    terms |= link_terms(ports, protocol)
    spec = spec_of(groups_of(ends, to, target), terms, one_way=one_way)
    if seed is not None:
        spec["seed"] = seed
    return spec


def refuse_idle(given: dict[str, Any]) -> None:
    """Raises Failure where the options given would do nothing, or one of them needs another."""
    if not any(given.get(option) for option in ("--delay", "--jitter", "--loss", "--corrupt", "--duplicate", "--rate")):
        raise Failure(
            ExitCode.BAD_USAGE,
            "say what is done to the packets: --delay 100ms, --jitter 10ms, --loss 5%, --corrupt 1%, --duplicate 1% "
            "or --rate 1mbit",
        )
    lacking = [f"{option} needs {other}" for option, other in NEEDS.items() if option in given and not given.get(other)]
    if lacking:
        raise Failure(ExitCode.BAD_USAGE, "; ".join(lacking))


def groups_of(ends: list[str], to: str | None, target: str | None) -> list[list[str]]:
    """The groups between which links are slow; without any /, each end is a group of its own. Raises Failure."""
    if to is not None:
        if "/" in ends:
            raise Failure(ExitCode.BAD_USAGE, "--to and /: give one of them")
        return split([*ends, "/", *to.split(",")])
    groups = split(ends)
    if len(groups) > 1:
        return groups
    if len(ends) > 1:
        return [[end] for end in ends]
    return [ends, [name for name in agent_nodes(target) if name not in ends]]


def spec_of(groups: list[list[str]], terms: dict[str, Any], *, one_way: bool) -> dict[str, Any]:
    """The spec of all links between the groups. Raises Failure with every problem."""
    from trogdor.compose import partition

    if one_way and len(groups) != 2:
        raise Failure(ExitCode.BAD_USAGE, f"--one-way goes from one group to another: two groups, not {len(groups)}")
    try:
        links = partition.one_way(*groups) if one_way else partition.parted(groups)
    except ValueError as error:
        raise Failure(ExitCode.BAD_USAGE, say_invalid(error)) from None
    if problems := [*_impossible_ends(links, terms)]:
        raise Failure(ExitCode.BAD_USAGE, "\n  ".join(dict.fromkeys(problems)))
    spec = {"class": DEGRADED_LINKS, "links": [{"from": link.from_, "to": link.to, **terms} for link in links]}
    named = {field: option for option, (field, _) in READ.items()}
    options.refuse_invalid(spec, {**named, "burst": "--burst", "ports": "--ports", "protocol": "--protocol"})
    return spec


def _impossible_ends(links: "Sequence[Link]", terms: dict[str, Any]) -> list[str]:
    """What is wrong with ends that surely have no agent: one delays packets where they arrive, limits what leaves."""
    if not links:
        return ["there is no other node: name both ends, n1 / 10.0.0.7"]
    problems = []
    queued = terms.keys() & {"delayMs", "jitterMs", "lossPercent", "corruptPercent", "duplicatePercent"}
    for link in links:
        problems += [f"{end}: ! is not for slow links: name the ends" for end in (link.from_, link.to) if end[0] == "!"]
        if queued and is_network(link.to):
            problems.append(
                f"{link.to} has no agent to delay, lose or damage what arrives there; what it sends can be: "
                f"trogdor slow {link.to} / {link.from_} --one-way"
            )
        if "rateKbit" in terms and is_network(link.from_):
            problems.append(
                f"{link.from_} has no agent to limit what it sends; what is sent to it can be: "
                f"trogdor slow {link.to} / {link.from_} --one-way"
            )
    return problems
