"""Blocked links on Windows: rules of its firewall, made disabled ahead and enabled at the instant.

Never run on Windows. Standard library only. A rule that blocks goes before every one that allows, so what is exempt is
left out of the rules themselves.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

from trogdor.claim.model import CannotInject, Claim, Json, Trouble
from trogdor.claim.resource import Resource
from trogdor.platform.windows.powershell import listed, quoted, run

LAST_PORT = 65_535
BLOCKED, OPEN = "blocked", "open"


def rules_of(want: Json) -> Iterator[dict[str, Json]]:
    """What a want blocks, as arguments of New-NetFirewallRule: all, but for the ports exempt of some addresses."""
    exempt: dict[str, set[int]] = {}
    for address, port in want["exempt"]:
        if address in want["remote"]:
            exempt.setdefault(address, set()).add(port)
    if whole := [address for address in want["remote"] if address not in exempt]:
        yield {"RemoteAddress": whole, "Protocol": "Any"}
    for address, ports in sorted(exempt.items()):
        yield {"RemoteAddress": [address], "Protocol": "TCP", "LocalPort": list(ports_but(ports))}
        yield {"RemoteAddress": [address], "Protocol": "UDP"}
        yield {"RemoteAddress": [address], "Protocol": f"ICMPv{ipaddress.ip_address(address).version}"}


def ports_but(ports: Iterable[int]) -> Iterator[str]:
    """Every port but these, as ranges."""
    low = 0
    for port in [*sorted(ports), LAST_PORT + 1]:
        if port > low:
            yield str(low) if low == port - 1 else f"{low}-{port - 1}"
        low = port + 1


def making(node: str, key: str, want: Json) -> str:
    """The script that makes the rules of a want, disabled. Pure."""
    lines = [removing(node, key)]
    for number, rule in enumerate(rules_of(want)):
        words = {
            "Name": quoted(f"trogdor-{node}-{key}-{number}"), "DisplayName": quoted(f"Trogdor: {want['link']}"),
            "Group": quoted(group_of(node, key)), "Direction": "Inbound", "Action": "Block", "Enabled": "False",
            "Profile": "Any",
            **{name: listed(value) if isinstance(value, list) else value for name, value in rule.items()},
        }  # fmt: skip
        lines.append(
            "New-NetFirewallRule " + " ".join(f"-{name} {value}" for name, value in words.items()) + " | Out-Null"
        )
    return "\n".join(lines)


def group_of(node: str, key: str) -> str:
    """The group of a link's rules, by which they are enabled, disabled and found again."""
    return f"Trogdor {node} {key}"


def removing(node: str, key: str) -> str:
    """The script that removes a link's rules, where there are any. Pure."""
    return f"{_finding(node, key)} | Remove-NetFirewallRule"


def _finding(node: str, key: str) -> str:
    return f"Get-NetFirewallRule -Group {quoted(group_of(node, key))} -ErrorAction SilentlyContinue"


def setting(node: str, values: Mapping[str, bool]) -> str:
    """The script that enables and disables the rules of links. Pure."""
    return "\n".join(
        f"{'Enable' if blocked else 'Disable'}-NetFirewallRule -Group {quoted(group_of(node, key))}"
        for key, blocked in sorted(values.items())
    )


class Firewall(Resource):
    """Links by their key: ``blocked`` or ``open``."""

    kind: ClassVar[str] = "firewall"
    undone_by: ClassVar[str] = "the warden, or else the next agent, removes the rules"

    def base(self, key: str) -> Json:
        return OPEN

    def prepare(self, claims: Sequence[Claim]) -> None:
        try:
            for key, want in {claim.key: claim.want for claim in claims}.items():
                run(making(self.node, key, want))
        except OSError as error:
            raise CannotInject(f"no rules of the firewall: {error}") from None

    def discard(self, claims: Sequence[Claim]) -> None:
        for key in {claim.key for claim in claims}:
            if self.observe(key) == OPEN:  # no other claim holds it
                run(removing(self.node, key))

    def apply(self, claims: Sequence[Claim], bases: Mapping[str, Json], now_ns: int) -> Mapping[str, Trouble]:
        claimed = {claim.key for claim in claims}
        try:
            run(setting(self.node, {key: key in claimed for key in bases}))
        except OSError as error:
            return dict.fromkeys(bases, Trouble("failed", str(error)))
        return {}

    @staticmethod
    def fold(base: Json, wants: Sequence[Json]) -> Json:
        return BLOCKED if wants else base

    def observe(self, key: str) -> Json:
        script = (
            f"(Get-NetFirewallRule -Group {quoted(group_of(self.node, key))} -ErrorAction SilentlyContinue).Enabled"
        )
        return BLOCKED if "True" in run(script).split() else OPEN

    def commands(self, key: str, base: Json) -> Sequence[str]:
        return (removing(self.node, key),)
