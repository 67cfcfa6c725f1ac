"""What a network device sends, limited or made worse: a tree of HTB classes, netem leaves where the kernel has it."""

import ipaddress
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from trogdor.claim.journal import HELD
from trogdor.claim.model import CannotInject, Claim, Json, Net, Trouble
from trogdor.claim.resource import Resource
from trogdor.platform.linux import rootqdisc

HANDLE, NETEM = "7409:", 0x7410
"""Ours: of the root, and of the first netem below it."""
WHOLE, REST, FIRST = "1", "fffe", 16
"""Class minors: the whole device, all that no link names, and the first link."""
UNLIMITED_KBIT = 100_000_000
COMMAND_S = 5.0
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1}


def tree_of(wants: Sequence[Json]) -> Json:
    """The classes these wants add up to: the least rate of the device, the least rate of each link, every netem.

    A want is ``{match: {to: CIDR, protocol, ports} or null, rateKbit, netem}``; a null match is the whole device.
    Two wants of the same match share a class: the lower rate, and delays and losses in a row.
    """
    whole = [want["rateKbit"] for want in wants if want["match"] is None and want.get("rateKbit")]
    netem = sorted(want["netem"] for want in wants if want["match"] is None and want.get("netem"))
    matches = {json.dumps(want["match"], sort_keys=True) for want in wants if want["match"] is not None}
    links = []
    for text in sorted(matches, key=lambda text: (-_narrowness(json.loads(text)), text)):
        mine = [
            want for want in wants if want["match"] is not None and json.dumps(want["match"], sort_keys=True) == text
        ]
        rates = [want["rateKbit"] for want in mine if want.get("rateKbit")]
        links.append({"match": json.loads(text), "rateKbit": min(rates, default=None)})
    return {"rateKbit": min(whole, default=None), "netem": netem, "links": links}


def _narrowness(match: Mapping[str, Any]) -> int:
    network = ipaddress.ip_network(match["to"], strict=False)
    return network.prefixlen + (128 - network.max_prefixlen) + (1000 if match.get("ports") else 0)


def port_masks(low: int, high: int) -> Iterator[tuple[int, int]]:
    """(value, mask) pairs that together match just the ports from ``low`` to ``high``: u32 knows no ranges."""
    while low <= high:
        size = low & -low if low else 1 << 16
        while size > high - low + 1:
            size >>= 1
        yield low, 0xFFFF & ~(size - 1)
        low += size


def commands_for(device: str, tree: Json) -> list[str]:
    """The lines for ``tc -batch`` that make the device's root this tree. Pure."""
    kbit = tree["rateKbit"] or UNLIMITED_KBIT
    lines = [
        f"qdisc replace dev {device} root handle {HANDLE} htb default {REST}",
        f"class replace dev {device} parent {HANDLE} classid {HANDLE}{WHOLE} htb rate {kbit}kbit",
        f"class replace dev {device} parent {HANDLE}{WHOLE} classid {HANDLE}{REST} htb rate {kbit}kbit",
    ]
    parent = HANDLE + REST
    for index, netem in enumerate(tree["netem"]):  # one in the other: what one has held back, the next does again
        handle = f"{NETEM + index:x}:"
        lines.append(f"qdisc replace dev {device} parent {parent} handle {handle} netem {netem}")
        parent = f"{handle}1"
    for index, link in enumerate(tree["links"]):
        minor = f"{FIRST + index:x}"
        rate = min(link["rateKbit"] or kbit, kbit)
        lines.append(f"class replace dev {device} parent {HANDLE}{WHOLE} classid {HANDLE}{minor} htb rate {rate}kbit")
        lines += [
            f"filter add dev {device} parent {HANDLE} {match} flowid {HANDLE}{minor}"
            for match in _filters(link["match"], 100 + index)
        ]
    return lines


def _filters(match: Mapping[str, Any], priority: int) -> Iterator[str]:
    network = ipaddress.ip_network(match["to"], strict=False)
    word = "ip" if network.version == 4 else "ip6"
    family = "ip" if network.version == 4 else "ipv6"
    number = PROTOCOLS.get(match.get("protocol", "any"))
    base = f"protocol {family} prio {priority} u32 match {word} dst {network}"
    if number is not None:
        base += f" match {word} protocol {58 if number == 1 and network.version == 6 else number} 0xff"
    ranges = [text.partition("-") for text in match.get("ports", [])]
    masks = [mask for low, _, high in ranges for mask in port_masks(int(low), int(high or low))]
    yield from (f"{base} match {word} dport {value} 0x{mask:04x}" for value, mask in masks) if masks else [base]


class Qdisc(Resource):
    """A device's root queueing discipline; the key is the device's name."""

    kind: ClassVar[str] = "qdisc"
    nets: ClassVar[frozenset[Net]] = frozenset({Net.WARDEN, Net.REPLAY})
    scope: ClassVar[str] = "net"
    undone_by: ClassVar[str] = "warden and replay remove the device's root qdisc; the kernel then puts its default back"

    def _tc(self, arguments: list[str], text: str = "") -> "subprocess.CompletedProcess[str]":
        with self.place.entered():
            try:
                return subprocess.run(
                    ["tc", *arguments], input=text, capture_output=True, text=True, timeout=COMMAND_S, check=False,
                    pass_fds=tuple(HELD),
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise OSError(f"tc has not ended within {COMMAND_S:g} s") from None

    def _root(self, device: str) -> tuple[str, str] | None:
        with self.place.entered():
            return rootqdisc.read(device)

    def base(self, key: str) -> Json:
        """The kernel's default, which has handle 0: and comes back by itself: there is nothing to keep."""
        return "default"

    def prepare(self, claims: Sequence[Claim]) -> None:
        """Raises CannotInject where tc or the device is missing, or somebody else has set its root qdisc."""
        if shutil.which("tc") is None:
            raise CannotInject("tc is missing: install iproute2")
        for device in sorted({claim.key for claim in claims}):
            root = self._root(device)
            if root is None:
                raise CannotInject(f"there is no network device {device!r} here")
            kind, handle = root
            if handle not in ("0:", HANDLE):
                raise CannotInject(
                    f"device {device} has a root qdisc of its own ({kind} {handle}): "
                    f"remove it first (tc qdisc del dev {device} root), it could not be put back exactly"
                )

    def apply(self, claims: Sequence[Claim], bases: Mapping[str, Json], now_ns: int) -> Mapping[str, Trouble]:
        troubles = {}
        for device in bases:
            trouble = self._set(device, [claim.want for claim in claims if claim.key == device])
            if trouble:
                troubles[device] = trouble
        return troubles

    def _set(self, device: str, wants: Sequence[Json]) -> Trouble | None:
        root = self._root(device)
        if root is None:
            return Trouble("gone", f"device {device} is gone")
        kind, handle = root
        if handle not in ("0:", HANDLE):
            return Trouble("changed", f"device {device}: somebody else has set its root qdisc to {kind}")
        if handle == HANDLE:
            with self.place.entered():
                rootqdisc.remove(device)
        if not wants:
            return None
        done = self._tc(["-batch", "-"], "\n".join([*commands_for(device, tree_of(wants)), ""]))
        return Trouble("failed", done.stderr.strip()) if done.returncode else None

    @staticmethod
    def fold(base: Json, wants: Sequence[Json]) -> Json:
        if not wants:
            return base
        tree = tree_of(wants)
        rates = {HANDLE + WHOLE: tree["rateKbit"] or UNLIMITED_KBIT}
        rates[HANDLE + REST] = rates[HANDLE + WHOLE]
        for index, link in enumerate(tree["links"]):
            rates[f"{HANDLE}{FIRST + index:x}"] = min(link["rateKbit"] or UNLIMITED_KBIT, rates[HANDLE + WHOLE])
        return {"rates": rates, "netem": len(tree["netem"])}

    def observe(self, key: str) -> Json:
        root = self._root(key)
        if root is None:
            return None
        kind, handle = root
        if handle == "0:":
            return "default"
        if handle != HANDLE:
            return kind
        lines = self._tc(["class", "show", "dev", key]).stdout.splitlines()
        netem = self._tc(["qdisc", "show", "dev", key]).stdout.count("qdisc netem ")
        return {"rates": dict(_rate(line.split()) for line in lines), "netem": netem}

    def leftovers(self) -> Mapping[str, Json]:
        done = self._tc(["-j", "qdisc", "show"])
        found = json.loads(done.stdout or "[]") if not done.returncode else []
        return {entry["dev"]: "default" for entry in found if entry.get("root") and entry.get("handle") == HANDLE}

    def commands(self, key: str, base: Json) -> Sequence[str]:
        return [f"tc qdisc del dev {key} root"]


UNITS_KBIT = {"Gbit": 1_000_000.0, "Mbit": 1_000.0, "Kbit": 1.0, "bit": 0.001}


def _rate(words: list[str]) -> tuple[str, int]:
    """(class id, rate in kbit/s) of a line of ``tc class show``."""
    text = words[words.index("rate") + 1]
    unit = next(unit for unit in UNITS_KBIT if text.endswith(unit))
    return words[2], round(float(text.removesuffix(unit)) * UNITS_KBIT[unit])
