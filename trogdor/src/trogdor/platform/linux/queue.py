"""Packets held back, lost or damaged where they arrive: netfilter queues them, a reader of our own lets them go.

Used where the kernel has no netem, and for all that concerns one peer. The rules stand in a chain of the node's own in
the raw table of iptables and ip6tables; delaying in OUTPUT would strangle TCP, so it is done in PREROUTING. They are
set ahead of time: until the reader is bound to the queue, the kernel lets packets pass as if there were no rule, and
binding it is a matter of a message.
"""

import ipaddress
import json
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from trogdor.claim.journal import HELD
from trogdor.claim.model import CannotInject, Claim, Json, Net, Trouble
from trogdor.claim.place import Place
from trogdor.claim.resource import Resource
from trogdor.platform.linux.netqueue import COPY_MARK

FAMILIES = {4: "iptables", 6: "ip6tables"}
KEY = "packets"
READY_S = 5.0
COMMAND_S = 5.0


def chain_of(node: str) -> str:
    """The name of a node's chain: it is ours, and tells nodes that share a network namespace apart."""
    return f"TROGDOR_{zlib.crc32(node.encode()):08x}"


def number_of(node: str) -> int:
    """The number of a node's queue."""
    return 0x7000 + zlib.crc32(node.encode()) % 0x1000


def rules_for(wants: Sequence[Json], version: int) -> list[str]:
    """The matches of one IP version's rules, exempt flows first; a pure function of what is wanted."""
    exempt = sorted({(address, port) for want in wants for address, port in want.get("exempt", [])})
    rules = [
        f"-s {ipaddress.ip_network(address)} -p tcp -m tcp --dport {port} -j RETURN"
        for address, port in exempt
        if ipaddress.ip_address(address).version == version
    ]
    queued = {match for want in wants for match in _matches(want, version)}
    copies = [f"-m mark --mark {COPY_MARK:#x} -j RETURN"] if any(want.get("duplicatePercent") for want in wants) else []
    return copies + rules + [f"{match} -j NFQUEUE" for match in sorted(queued)]


def _matches(want: Json, version: int) -> Iterator[str]:
    device = f"-i {want['device']} " if want.get("device") else ""
    protocol = want.get("protocol", "any")
    if protocol == "icmp" and version == 6:
        protocol = "ipv6-icmp"
    what = "" if protocol == "any" else f"-p {protocol}"
    ports = [f" -m {protocol} --dport {port.replace('-', ':')}" for port in want.get("ports", [])] or [""]
    networks = [ipaddress.ip_network(source, strict=False) for source in want["sources"]]
    sources = [f"-s {network} " for network in networks if network.version == version]
    for source in sources if networks else [""]:
        for port in ports:
            yield f"{source}{device}{what}{port}".strip()


class PacketQueue(Resource):
    """The packets that arrive at a node. A want is a rule of ``netqueue``, with ``device`` and ``exempt`` flows."""

    kind: ClassVar[str] = "queue"
    nets: ClassVar[frozenset[Net]] = frozenset({Net.KERNEL, Net.WARDEN, Net.REPLAY})
    scope: ClassVar[str] = "net"
    leaves_prepared: ClassVar[bool] = True
    undone_by: ClassVar[str] = (
        "the reader of the queue ends with its agent, or is killed by its watchdog, and each fault has its own end; "
        "without a reader the kernel lets packets pass. warden and replay remove the rules"
    )

    def __init__(self, place: Place, node: str) -> None:
        super().__init__(place, node)
        self._chain = chain_of(node)
        self._reader: subprocess.Popen[bytes] | None = None
        self._prepared: dict[str, Json] = {}
        """Claim id → want, of all whose rules stand."""

    def prepare(self, claims: Sequence[Claim]) -> None:
        """Sets the rules and starts the reader. Raises CannotInject when kernel or packages lack something."""
        self._start_reader()
        prepared = self._prepared | {claim.id: claim.want for claim in claims}
        failed = self._set_rules(list(prepared.values()))
        if failed:
            raise CannotInject(f"no rules in the raw table (the package iptables is needed): {failed}")
        self._prepared = prepared

    def discard(self, claims: Sequence[Claim]) -> None:
        """Takes away the rules that no other claim needs, and the reader after the last."""
        for claim in claims:
            self._prepared.pop(claim.id, None)
        failed = self._set_rules(list(self._prepared.values()))
        if not self._prepared:
            self._end_reader()
        if failed:
            raise OSError(failed)

    def _run(self, command: list[str], text: str = "") -> "subprocess.CompletedProcess[str]":
        with self.place.entered():
            try:
                return subprocess.run(
                    command, input=text, capture_output=True, text=True, timeout=COMMAND_S, check=False,
                    pass_fds=tuple(HELD),
                )  # fmt: skip
            except (OSError, subprocess.TimeoutExpired) as error:
                return subprocess.CompletedProcess(command, 127, "", str(error))

    def _is_read(self) -> bool:
        return self._reader is not None and self._reader.poll() is None

    def _start_reader(self) -> None:
        if self._is_read():
            return
        program = Path(__file__).with_name("netqueue.py")
        with self.place.entered():
            self._reader = subprocess.Popen(
                [sys.executable, "-I", "-S", str(program), str(number_of(self.node))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        answer = self._tell([])
        if answer != "0":
            self._end_reader()
            raise CannotInject(f"the kernel gives no packet queue (NFQUEUE, nfnetlink_queue): {answer}")

    def _tell(self, rules: list[Json]) -> str:
        if not self._reader or not self._reader.stdin or not self._reader.stdout:
            return "no reader"
        try:
            self._reader.stdin.write(json.dumps(rules).encode() + b"\n")
            self._reader.stdin.flush()
        except OSError as error:
            return f"the reader is gone: {error}"
        return self._reader.stdout.readline().decode().strip() or "the reader is gone"

    def _end_reader(self) -> None:
        if self._reader and self._reader.stdin and self._reader.stdout:
            self._reader.stdin.close()
            self._reader.wait(READY_S)
            self._reader.stdout.close()
        self._reader = None

    def apply(self, claims: Sequence[Claim], bases: Mapping[str, Json], now_ns: int) -> Mapping[str, Trouble]:
        if not self._is_read() and not claims:  # its reader is gone, or it was another process's: what stands is inert
            return {}
        if not self._is_read():
            return {KEY: Trouble("gone", "the packet queue's reader has ended: packets pass unharmed")}
        rules = [{**claim.want, "untilNs": claim.term.end_ns} for claim in claims]
        answer = self._tell(rules)
        return {} if answer == str(len(rules)) else {KEY: Trouble("failed", answer)}

    def _set_rules(self, wants: Sequence[Json]) -> str:
        """Makes the chain hold just the rules of these wants, and gone where there are none; what went wrong."""
        failed = [
            self._set_family(family, rules_for(wants, version) if wants else []) for version, family in FAMILIES.items()
        ]
        return "; ".join(filter(None, failed))

    def _set_family(self, family: str, rules: list[str]) -> str:
        """One transaction."""
        standing = self._run([f"{family}-save", "-t", "raw"])
        if standing.returncode:
            return standing.stderr.strip()
        jumps = standing.stdout.count(f"-A PREROUTING -j {self._chain}\n")
        if not rules and not jumps and f":{self._chain} " not in standing.stdout:
            return ""
        lines = ["*raw", f":{self._chain} - [0:0]", f"-F {self._chain}"]
        spoken = [
            rule.replace("NFQUEUE", f"NFQUEUE --queue-num {number_of(self.node)} --queue-bypass") for rule in rules
        ]
        lines += [f"-A {self._chain} {rule}" for rule in spoken]
        if rules:
            lines += [] if jumps else [f"-I PREROUTING -j {self._chain}"]
        else:
            lines += [f"-D PREROUTING -j {self._chain}"] * jumps + [f"-X {self._chain}"]
        done = self._run([f"{family}-restore", "--noflush", "-w", "2"], "\n".join([*lines, "COMMIT", ""]))
        return done.stderr.strip() if done.returncode else ""

    @staticmethod
    def fold(base: Json, wants: Sequence[Json]) -> Json:
        return "held" if wants else base

    def observe(self, key: str) -> Json:
        """``held`` while the rules stand and somebody is bound to the queue; None where packets pass."""
        with self.place.entered():
            path = Path("/proc/thread-self/net/netfilter/nfnetlink_queue")
            bound = [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []
        return "held" if str(number_of(self.node)) in bound and any(self.rules().values()) else None

    def rules(self) -> dict[int, list[str]]:
        """IP version → the rules that stand, read anew."""
        bypass = f" --queue-num {number_of(self.node)} --queue-bypass"
        found: dict[int, list[str]] = {}
        for version, family in FAMILIES.items():
            lines = self._run([f"{family}-save", "-t", "raw"]).stdout.splitlines()
            mine = [line.removeprefix(f"-A {self._chain} ") for line in lines if line.startswith(f"-A {self._chain} ")]
            found[version] = [line.replace(bypass, "") for line in mine]
        return found

    def lost(self, claims: Sequence[Claim]) -> Mapping[str, Trouble]:
        if self._reader and self._reader.poll() is None:
            return {}
        return {claim.id: Trouble("failed", "the reader of the queue is gone: packets pass") for claim in claims}

    def leftovers(self) -> Mapping[str, Json]:
        saved = [self._run([f"{family}-save", "-t", "raw"]).stdout for family in FAMILIES.values()]
        return {KEY: None} if any(f":{self._chain} " in text for text in saved) else {}

    def commands(self, key: str, base: Json) -> Sequence[str]:
        return [
            f"{family} -t raw {what}"
            for family in FAMILIES.values()
            for what in (f"-D PREROUTING -j {self._chain}", f"-F {self._chain}", f"-X {self._chain}")
        ]

    def close(self) -> None:
        self._end_reader()
