"""A node that is a dict, and the resource that its claims are about."""

import subprocess
from collections.abc import Mapping, Sequence
from typing import ClassVar

from trogdor.claim.ledger import Ledger, boot_ns
from trogdor.claim.model import CannotInject, Claim, Json, Term, Trouble
from trogdor.claim.resource import Resource

NODE: dict[str, Json] = {}
"""The node: key → value."""


class Toy(Resource):
    """Key → the wants in force, joined; what it was before where there are none."""

    kind = "toy"
    failing = False
    cannot_discard = False
    standing: ClassVar[set[str]] = set()
    """The ids of claims that something is prepared for."""

    def base(self, key: str) -> Json:
        return NODE.get(key)

    def prepare(self, claims: Sequence[Claim]) -> None:
        if any(claim.want == "impossible" for claim in claims):
            raise CannotInject("the toy is broken")
        Toy.standing |= {claim.id for claim in claims}

    def discard(self, claims: Sequence[Claim]) -> None:
        if Toy.cannot_discard:
            raise OSError("no toy")
        Toy.standing -= {claim.id for claim in claims}

    def apply(self, claims: Sequence[Claim], bases: Mapping[str, Json], now_ns: int) -> Mapping[str, Trouble]:
        if Toy.failing:
            raise OSError("no toy")
        for key, base in bases.items():
            NODE[key] = self.fold(base, [claim.want for claim in claims if claim.key == key])
        return {}

    @staticmethod
    def fold(base: Json, wants: Sequence[Json]) -> Json:
        return "+".join(sorted(wants)) if wants else base

    def observe(self, key: str) -> Json:
        return NODE.get(key)

    def commands(self, key: str, base: Json) -> Sequence[str]:
        return (f"set {key} {base}",)


class Brittle(Toy):
    """A toy whose program hangs once it is fired: what that raises is no OSError."""

    kind = "brittle"

    def apply(self, claims: Sequence[Claim], bases: Mapping[str, Json], now_ns: int) -> Mapping[str, Trouble]:
        if Toy.failing:
            raise subprocess.TimeoutExpired("toy", 5)
        return super().apply(claims, bases, now_ns)


KINDS = {"brittle": f"{__name__}:Brittle", "toy": f"{__name__}:Toy"}


def claim(worker: int, want: str, key: str = "thing", kind: str = "toy") -> Claim:
    now = boot_ns()
    return Claim(f"{worker}/{want}", kind, key, want, Term(f"t{worker}", worker, now, now + 10**10))


def abandon(ledger: Ledger) -> None:
    """As if the process had died: what it wrote stays, its lock goes."""
    ledger._lock.release()


def damage(ledger: Ledger, part: bytes) -> None:
    """Turns a bit in the middle of a journal."""
    path = ledger.site.directory / f"journal.{ledger._journal.generation % 2}"
    data = bytearray(path.read_bytes())
    data[data.index(part)] ^= 1
    path.write_bytes(data)
