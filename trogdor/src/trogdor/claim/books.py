"""What a journal's records add up to: the claims that are live, what they go back to, and how earlier ones ended."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from trogdor.claim.journal import Record
from trogdor.claim.model import Claim, Json, Undone

MOST_ENDED = 1000
"""Ended workers whose ends are remembered for a coordinator that asks after a restart."""


class Books:
    """A fold over records; ``records`` writes it down again, without what no longer matters."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.claims: dict[str, Claim] = {}
        self.fired: dict[str, int] = {}
        """Claim id → when it was about to be fired, in ns of CLOCK_BOOTTIME."""
        self.standing: dict[str, Claim] = {}
        """Claims that are no more, of which what was prepared may still stand, by id."""
        self.bases: dict[str, dict[str, Json]] = {}
        """Kind → key → the value to go back to."""
        self.ended: OrderedDict[int, Undone] = OrderedDict()
        """Worker id → its end, once it has no claims any more."""
        self.inherited: frozenset[str] = frozenset()
        """The claims of earlier epochs that could not be undone when this one began: nobody's to be late with."""
        self.opened: Record = {}
        """The last opening: ``epoch``, ``boot``, the namespaces ``net`` and ``pid``, ``owner``."""
        for record in records:
            self.take(record)

    def take(self, record: Record) -> None:
        """Adds one record to the fold."""
        match record["op"]:
            case "open":
                self.opened = record
                self.inherited = frozenset(self.claims)
            case "claims":
                self._claim([Claim.from_json(each) for each in record["claims"]], record["bases"])
            case "fired":
                self.fired.update({id_: record["at_ns"] for id_ in record["ids"] if id_ in self.claims})
                self._rebase(record["bases"])
            case "undone":
                if record.get("standing"):
                    self.standing.update({id_: self.claims[id_] for id_ in record["ids"] if id_ in self.claims})
                self._undo(record["ids"], _undone(record))
            case "standing":
                self.standing.update({each["id"]: Claim.from_json(each) for each in record["claims"]})
            case "discarded":
                for id_ in record["ids"]:
                    self.standing.pop(id_, None)
            case "ended":
                self.ended.update({int(worker): _undone(each) for worker, each in record["workers"].items()})

    def _claim(self, claims: Iterable[Claim], bases: Mapping[str, Mapping[str, Json]]) -> None:
        self.claims.update({claim.id: claim for claim in claims})
        self._rebase(bases)

    def _rebase(self, bases: Mapping[str, Mapping[str, Json]]) -> None:
        for kind, by_key in bases.items():
            self.bases.setdefault(kind, {}).update(by_key)

    def _undo(self, ids: Iterable[str], undone: Undone) -> None:
        gone = [claim for claim in (self.claims.pop(id_, None) for id_ in ids) if claim is not None]
        still = {(claim.kind, claim.key) for claim in self.claims.values()}
        workers = {claim.term.worker_id for claim in self.claims.values()}
        for claim in gone:
            self.fired.pop(claim.id, None)
            if (claim.kind, claim.key) not in still:
                self.bases.get(claim.kind, {}).pop(claim.key, None)
            if claim.term.worker_id not in workers:
                self.ended[claim.term.worker_id] = undone
        while len(self.ended) > MOST_ENDED:
            self.ended.popitem(last=False)

    @property
    def epoch(self) -> int:
        """How often this journal has been opened."""
        return int(self.opened.get("epoch", 0))

    def of_kind(self, kind: str, *, fired: bool = False) -> list[Claim]:
        """The live claims of a kind, or those that were fired."""
        return [claim for claim in self.claims.values() if claim.kind == kind and (not fired or claim.id in self.fired)]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is claimed, and nothing prepared may still stand."""
        return not self.claims and not self.standing

    def left_standing(self, kind: str) -> list[Claim]:
        """The claims of a kind that are no more, of which what was prepared may still stand."""
        return [claim for claim in self.standing.values() if claim.kind == kind]

    def kinds(self) -> list[str]:
        """The kinds that are claimed, or of which something may still stand."""
        return sorted({claim.kind for claim in (*self.claims.values(), *self.standing.values())})

    def touched(self, kind: str) -> dict[str, Json]:
        """Key → base of what the node may be under: what was fired, or was just about to be."""
        bases = self.bases.get(kind, {})
        return {claim.key: bases[claim.key] for claim in self.of_kind(kind, fired=True) if claim.key in bases}

    def baseless(self, kind: str) -> list[str]:
        """The keys that were fired and whose base is not known: it was in a part of the journal that was lost."""
        fired = {claim.key for claim in self.of_kind(kind, fired=True)}
        return sorted(fired - self.bases.get(kind, {}).keys())

    def records(self) -> list[Record]:
        """The records that add up to this."""
        claims = self.claims.values()
        old = [claim for claim in claims if claim.id in self.inherited]
        new = [claim for claim in claims if claim.id not in self.inherited]
        written: list[Record] = [claims_record(old, self.bases)] if old else []
        written += [self.opened] if self.opened else []
        written += [claims_record(new, self.bases)] if new else []
        written += [{"op": "fired", "ids": [id_], "at_ns": at_ns, "bases": {}} for id_, at_ns in self.fired.items()]
        if self.standing:
            written.append({"op": "standing", "claims": [claim.to_json() for claim in self.standing.values()]})
        if self.ended:
            written.append({"op": "ended", "workers": {str(worker): _json(end) for worker, end in self.ended.items()}})
        return written


def claims_record(claims: Iterable[Claim], bases: Mapping[str, Mapping[str, Json]]) -> Record:
    """The record of claims and of what they go back to."""
    return {
        "op": "claims",
        "claims": [claim.to_json() for claim in claims],
        "bases": {kind: dict(by_key) for kind, by_key in bases.items() if by_key},
    }


def undone_record(ids: Iterable[str], undone: Undone, *, standing: bool = False) -> Record:
    """The record that these claims are no more; ``standing``: what was prepared for them has yet to be discarded."""
    return {"op": "undone", "ids": list(ids), **_json(undone), **({"standing": True} if standing else {})}


def discarded_record(claims: Iterable[Claim]) -> Record:
    """The record that nothing prepared for these claims stands any more."""
    return {"op": "discarded", "ids": [claim.id for claim in claims]}


def _json(undone: Undone) -> dict[str, Json]:
    return {"at_ns": undone.at_ns, "by": undone.by, "left_alone": list(undone.left_alone)}


def _undone(record: Record) -> Undone:
    return Undone(record["at_ns"], record["by"], tuple(record["left_alone"]))
