"""Cut links: packets dropped or rejected by nftables, in one table of the agent's own per network namespace.

The table belongs to the agent's socket, and goes with it. What one worker arms at once is a *batch*: base chains whose
first rule lets everything pass unless a *gate*, a set of IP versions, holds the packet's. Arming fills everything but
the gate, so the node notices nothing; firing adds two elements to it, however many addresses are cut; and these
elements time out by themselves soon after the claim's end. Standard library only: the warden loads it.
"""

import itertools
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trogdor.claim.model import CannotInject, Claim, Json, Net, Trouble
from trogdor.claim.place import Place
from trogdor.claim.resource import Resource
from trogdor.platform.linux.nft import Nft, NftError

GRACE_NS = 500_000_000
"""How long after its claim's end the kernel lets a gate stand."""
MOST_NS = 364 * 86_400 * 10**9
"""The longest timeout given to the kernel; a gate that stands longer is armed again."""

_NAMES_MOST = 200
_FAMILIES = ("ip", "ip6")
_DISCOVERY = "{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert }"
_SYN = "tcp flags & (fin|syn|rst|ack) == syn"


def key_of(want: Mapping[str, Json]) -> str:
    """The key of a want: everything that tells a rule from others, but not the addresses it is about."""
    words = [want["hook"], want["protocol"], ",".join(want["ports"]), want["connections"], want["action"]]
    if want["local"]:
        words.append(f"at {','.join(want['local'])}")
    return " ".join(word for word in [*words, "keep" if want["exempt"] else ""] if word)


def table_of(node: str) -> str:
    """The table's name for a node; what nftables allows in no name is written as its code."""
    return "trogdor_" + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in node)[:_NAMES_MOST]


class Cut(Resource):
    """Cut links of one network namespace. A key's value: the addresses cut that way, as CIDRs, or None."""

    kind = "nft"
    nets = frozenset(Net)
    undone_by = (
        "the table is gone with the agent's socket, and the gate's elements time out 500 ms after the claim's end; "
        "the warden kills a hanging agent, and so its table"
    )
    scope = "net"

    def __init__(self, place: Place, node: str) -> None:
        super().__init__(place, node)
        self.table = table_of(node)
        self._owner: Nft | None = None
        self._reader: Nft | None = None
        self._batches: list[_Batch] = []
        self._number = itertools.count(1)

    def prepare(self, claims: Sequence[Claim]) -> None:
        grouped: dict[Any, list[Claim]] = {}
        for claim in claims:
            exempt = tuple(map(tuple, claim.want["exempt"]))
            grouped.setdefault((claim.term, exempt), []).append(claim)
        batches = [
            _Batch(f"w{term.worker_id}_{next(self._number)}".replace("-", "m"), group, exempt)
            for (term, exempt), group in grouped.items()
        ]
        if self._owner is None:
            self._owner = self._own_table()
        lines = [line for batch in batches for line in batch.made(self.table)]
        try:
            self._owner.run("\n".join([f"add table inet {self.table} {{ flags owner; }}", *lines]))
        except NftError as error:
            raise CannotInject(f"this kernel cannot cut links as asked: {error.strerror}") from None
        self._batches += batches

    def _own_table(self) -> Nft:
        """The table of an agent killed just now may take some milliseconds to go."""
        owner = Nft(self.place)
        deadline = time.monotonic() + 2
        while True:
            try:
                owner.run(f"add table inet {self.table} {{ flags owner; }}")
                return owner
            except NftError as error:
                if time.monotonic() > deadline:
                    owner.close()
                    raise CannotInject(_why_no_table(self.table, error)) from None
                time.sleep(0.01)

    def discard(self, claims: Sequence[Claim]) -> None:
        ids = {claim.id for claim in claims}
        over = []
        for batch in self._batches:
            batch.live -= ids
            if not batch.live:
                over.append(batch)
        if self._owner is None or not over:
            return
        self._batches = [batch for batch in self._batches if batch not in over]
        if self._batches:
            self._owner.run("\n".join(line for batch in over for line in batch.unmade(self.table)))
        else:
            self._owner.run(f"delete table inet {self.table}")

    def apply(self, claims: Sequence[Claim], bases: Mapping[str, Json], now_ns: int) -> Mapping[str, Trouble]:
        if self._owner is None:
            return self._check_gone(bases)
        live = {claim.id for claim in claims if claim.term.end_ns + GRACE_NS > now_ns}
        touched = (batch for batch in self._batches if not bases.keys().isdisjoint(batch.keys))
        wanted = {batch: frozenset(live & batch.claims.keys()) for batch in touched}
        changed = {batch: want for batch, want in wanted.items() if not batch.holds(want)}
        lines = [line for batch, want in changed.items() for line in batch.set_to(want, self.table, now_ns)]
        if lines:
            self._owner.run("\n".join(lines))
        for batch, want in changed.items():
            batch.took(want, now_ns)
        return {}

    def _check_gone(self, keys: Iterable[str]) -> Mapping[str, Trouble]:
        """Nothing of ours was made by this process: what another made is gone with it, within milliseconds."""
        deadline = time.monotonic() + 2
        while self._exists():
            if time.monotonic() > deadline:
                trouble = Trouble("failed", f"table inet {self.table} still has an owner")
                return dict.fromkeys(keys, trouble)
            time.sleep(0.005)
        return {}

    def _exists(self) -> bool:
        return self.table in self.tables()

    def _reading(self) -> Nft:
        if self._reader is None:
            self._reader = Nft(self.place, as_json=True)
        return self._reader

    def _read(self, command: str) -> list[dict[str, Any]]:
        return self._reading().objects(command)

    @staticmethod
    def fold(base: Json, wants: Sequence[Json]) -> Json:
        return collapsed(address for want in wants for address in want["addresses"]) or None

    def observe(self, key: str) -> Json:
        return self._observed().get(_mark(key))

    def _observed(self) -> dict[str, list[str]]:
        """Key's mark → what is cut so, by the rules and sets that another socket reads back."""
        if not self._exists():
            return {}
        listed = self._read(f"list sets table inet {self.table}")
        sets = {each["set"]["name"]: each["set"].get("elem", []) for each in listed if "set" in each}
        found: dict[str, list[str]] = {}
        parts: dict[tuple[str, str], int] = {}
        for name in [each["chain"]["name"] for each in self._read("list chains inet") if _is_chain(each, self.table)]:
            for rule in [each["rule"] for each in self._read(f"list chain inet {self.table} {name}") if "rule" in each]:
                mark, _, rest = rule.get("comment", "").partition(" ")
                addresses = _set_in(rule["expr"])
                if not rest or addresses is None or not _stands_open(sets, addresses):
                    continue
                parts[mark, addresses] = parts.get((mark, addresses), 0) + 1
                if parts[mark, addresses] == int(rest):
                    found.setdefault(mark, []).extend(cidr for each in sets.get(addresses, []) for cidr in _cidrs(each))
        return {mark: collapsed(addresses) for mark, addresses in found.items() if addresses}

    def kernel_end_ns(self, claim: Claim) -> int | None:
        return claim.term.end_ns + GRACE_NS

    def lost(self, claims: Sequence[Claim]) -> Mapping[str, Trouble]:
        seen = self._observed()
        trouble = Trouble("changed", "the rule that cuts it is not there any more")
        return {
            claim.id: trouble
            for claim in claims
            if self.fold(None, [claim.want, {"addresses": seen.get(_mark(claim.key), [])}])
            != seen.get(_mark(claim.key))
        }

    def tables(self) -> list[str]:
        """The tables of all agents in this network namespace. Each has a living owner, or it would be gone.

        Not asked for as JSON: libnftables 1.0.6 prints a table's one flag from memory that it has freed.
        """
        names = (line.removeprefix("table inet ") for line in self._reading().lines("list tables inet"))
        return sorted(name for name in names if name.startswith("trogdor_"))

    def commands(self, key: str, base: Json) -> Sequence[str]:
        return (f"nft delete table inet {self.table}",) if self._exists() else ()

    def close(self) -> None:
        for context in (self._owner, self._reader):
            if context is not None:
                context.close()
        self._owner = self._reader = None


class _Batch:
    """What one worker armed at once: its chains, its sets of addresses, and the gate before them."""

    def __init__(self, name: str, claims: Sequence[Claim], exempt: tuple[tuple[str, int], ...]) -> None:
        self.name = name
        self.claims = {claim.id: claim for claim in claims}
        self.live = set(self.claims)
        self.end_ns = claims[0].term.end_ns
        self.exempt = exempt
        self.keys = {claim.key: claim.want for claim in claims}
        self.loaded = frozenset(self.claims)
        """Whose addresses the sets hold."""
        self.in_force: frozenset[str] = frozenset()
        self.until_ns = 0
        """When the kernel shuts the gate, where it is open."""

    def holds(self, want: frozenset[str]) -> bool:
        """Whether the kernel has these claims in force already, until their end."""
        return want == self.in_force and (not want or self.until_ns >= self.end_ns + GRACE_NS)

    def _sets(self, ids: Iterable[str]) -> dict[str, list[str]]:
        """Set's name → its addresses, for every key and IP version that these claims are about."""
        by_set: dict[str, list[str]] = {}
        for id_ in sorted(ids):
            claim = self.claims[id_]
            for address in claim.want["addresses"]:
                by_set.setdefault(self._set(claim.key, _family(address)), []).append(address)
        return {name: collapsed(addresses) for name, addresses in by_set.items()}

    def _set(self, key: str, family: str) -> str:
        return f"{self.name}_{_mark(key)}_{family}"

    def made(self, table: str) -> list[str]:
        """The commands that make it, with its gate shut."""
        lines = [f"add set inet {table} {self.name} {{ type nf_proto; flags timeout; }}"]
        sets = self._sets(self.claims)
        for name, addresses in sets.items():
            type_ = "ipv6_addr" if name.endswith("ip6") else "ipv4_addr"
            lines.append(f"add set inet {table} {name} {{ type {type_}; flags interval; }}")
            lines.append(_added(table, name, addresses))
        for (hook, connections), keys in self._by_chain().items():
            lines += self._chain(table, hook, connections, keys, sets)
        return lines

    def _by_chain(self) -> dict[tuple[str, str], list[str]]:
        """(hook, connections) → keys. What leaves is met where it is made here, and where a container's arrives."""
        chains: dict[tuple[str, str], list[str]] = {}
        for key, want in self.keys.items():
            for hook in ("prerouting",) if want["hook"] == "in" else ("output", "prerouting"):
                chains.setdefault((hook, want["connections"]), []).append(key)
        return chains

    def _chain(self, table: str, hook: str, connections: str, keys: Sequence[str], sets: Iterable[str]) -> list[str]:
        """One base chain: at raw, or for new connections behind connection tracking, where the kernel knows them."""
        name = f"{self.name}_{hook}_{connections}"
        rule = f"add rule inet {table} {name}"
        priority = "raw" if connections == "all" else "mangle"
        lines = [
            f"add chain inet {table} {name} {{ type filter hook {hook} priority {priority}; policy accept; }}",
            f"{rule} meta nfproto != @{self.name} return",
            f"{rule} icmpv6 type {_DISCOVERY} return",
        ]
        end, port_end = ("saddr", "dport") if hook == "prerouting" else ("daddr", "sport")
        lines += [
            f"{rule} {_family(address)} {end} {address} tcp {port_end} {port} return" for address, port in self.exempt
        ]
        for key in keys:
            lines += [f"{rule} {match}" for match in self._rules(key, sets)]
        return lines

    def _rules(self, key: str, sets: Iterable[str]) -> list[str]:
        """A key's rules; each carries the key's mark and how many they are, for whoever reads them back."""
        want = self.keys[key]
        remote, local = ("saddr", "daddr") if want["hook"] == "in" else ("daddr", "saddr")
        matches = _matches(want)
        rules = []
        for family in _FAMILIES:
            if (name := self._set(key, family)) in sets:
                here = [address for address in want["local"] if _family(address) == family]
                at = f"{family} {local} {{ {', '.join(here)} }} " if here else ""
                comment = f'comment "{_mark(key)} {len(matches)}"'
                rules += [f"{family} {remote} @{name} {at}{match} {comment}" for match in matches]
        return rules

    def unmade(self, table: str) -> list[str]:
        """The commands that take it away."""
        chains = [f"{self.name}_{hook}_{connections}" for hook, connections in self._by_chain()]
        return [
            *(f"{verb} chain inet {table} {chain}" for verb in ("flush", "delete") for chain in chains),
            *(f"delete set inet {table} {name}" for name in [self.name, *self._sets(self.claims)]),
        ]

    def set_to(self, want: frozenset[str], table: str, now_ns: int) -> list[str]:
        """The commands after which exactly the claims ``want`` are in force, until soon after their end."""
        gate = f"element inet {table} {self.name}"
        if not want:
            return [f"flush set inet {table} {self.name}"]
        lines = []
        if want != self.loaded:
            new = self._sets(want)
            for name in self._sets(self.claims):
                lines.append(f"flush set inet {table} {name}")
                lines += [_added(table, name, new[name])] if name in new else []
        timeout = _duration(self._stands_ns(now_ns))
        if self.in_force:
            lines += [f"add {gate} {{ ipv4, ipv6 }}", f"delete {gate} {{ ipv4, ipv6 }}"]
        return [*lines, f"add {gate} {{ ipv4 timeout {timeout}, ipv6 timeout {timeout} }}"]

    def _stands_ns(self, now_ns: int) -> int:
        return min(self.end_ns + GRACE_NS - now_ns, MOST_NS)

    def took(self, want: frozenset[str], now_ns: int) -> None:
        """The kernel has taken ``set_to``'s commands."""
        self.in_force = want
        if want:
            self.loaded = want
            self.until_ns = now_ns + self._stands_ns(now_ns)


def _matches(want: Mapping[str, Json]) -> list[str]:
    """What follows a rule's addresses: protocol, ports, new connections, and what is done. Several for some wants.

    A new TCP connection is told by its SYN: connection tracking calls the next packet of any connection new that it
    has not seen begin, such as all those that stood before it was first needed.
    """
    protocol, new, reject = want["protocol"], want["connections"] == "new", want["action"] == "reject"
    refuse = "reject with icmpx type admin-prohibited" if reject else "drop"
    reset = "reject with tcp reset" if reject else "drop"
    track = "ct state new " if new else ""
    syn = f"{_SYN} " if new else ""
    ports = f"{protocol} dport {{ {', '.join(want['ports'])} }} " if want["ports"] else ""
    match protocol:
        case "tcp":
            return [f"meta l4proto tcp {ports}{syn}{reset}"]
        case "udp":
            return [f"meta l4proto udp {ports}{track}{refuse}"]
        case "icmp":
            return [f"meta l4proto {{ icmp, ipv6-icmp }} {track}{refuse}"]
        case _ if new or reject:
            return [f"meta l4proto tcp {syn}{reset}", f"meta l4proto != tcp {track}{refuse}"]
        case _:
            return [refuse]


def _added(table: str, name: str, addresses: Sequence[str]) -> str:
    return f"add element inet {table} {name} {{ {', '.join(addresses)} }}"


def _duration(ns: int) -> str:
    """As nftables reads a time: one bare number of ms would be "value too large" beyond 49 days."""
    ms = max(1, ns // 1_000_000)
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, ms = divmod(ms, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def _mark(key: str) -> str:
    return f"{zlib.crc32(key.encode()):08x}"


def _family(address: str) -> str:
    return "ip6" if ":" in address else "ip"


def collapsed(addresses: Iterable[str]) -> list[str]:
    """The fewest CIDRs that cover the same addresses, IPv4 first; no two of them overlap, which nftables refuses."""
    import ipaddress

    by_version: dict[int, list[Any]] = {4: [], 6: []}
    for address in addresses:
        network = ipaddress.ip_network(address, strict=False)
        by_version[network.version].append(network)
    return [str(network) for version in (4, 6) for network in ipaddress.collapse_addresses(by_version[version])]


def _is_chain(each: Mapping[str, Any], table: str) -> bool:
    return "chain" in each and each["chain"]["table"] == table


def _set_in(expressions: Iterable[Mapping[str, Any]]) -> str | None:
    """The set of addresses that a rule matches."""
    for expression in expressions:
        match = expression.get("match", {})
        right = match.get("right")
        if isinstance(right, str) and right.startswith("@") and "payload" in match.get("left", {}):
            return right[1:]
    return None


def _stands_open(sets: Mapping[str, Sequence[Any]], addresses: str) -> bool:
    gate, version = addresses.rsplit("_", 2)[0], "ipv6" if addresses.endswith("ip6") else "ipv4"
    return any((each["elem"]["val"] if isinstance(each, dict) else each) == version for each in sets.get(gate, []))


def _cidrs(element: Any) -> list[str]:
    """An element of a set of addresses, as nftables prints it in JSON."""
    import ipaddress

    match element:
        case {"prefix": {"addr": address, "len": length}}:
            return [f"{address}/{length}"]
        case {"range": [first, last]}:
            ends = (ipaddress.ip_address(first), ipaddress.ip_address(last))
            return [str(network) for network in ipaddress.summarize_address_range(*ends)]
        case _:
            return [str(element)]


def _why_no_table(table: str, error: NftError) -> str:
    said = f"nftables refuses a table of our own ({error.strerror})"
    if "not supported" in str(error):
        return f"{said}: tables with an owner need Linux 5.12 and nf_tables in the kernel"
    if "not permitted" in str(error):
        return f"{said}: the agent needs CAP_NET_ADMIN, and no other agent may own table {table}"
    return said
