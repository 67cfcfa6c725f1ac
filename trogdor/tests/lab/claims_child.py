"""Runs inside a lab node and forks agents that are killed where a test says: ``claims_child.py``, lines of JSON in and
out. Each answer says what the node and the journal showed; the tests judge.
"""

import asyncio
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from lab.specimens import MAY_BE_EMPTY, SPECIMENS, sleeping
from lab.whole_life import live
from trogdor.claim import points
from trogdor.claim.books import Books
from trogdor.claim.heal import heal
from trogdor.claim.journal import read
from trogdor.claim.ledger import Ledger, boot_ns
from trogdor.claim.model import Claim, Term
from trogdor.claim.place import Place
from trogdor.claim.resource import Resource
from trogdor.claim.settle import Site
from trogdor.platform.linux.cut import key_of
from trogdor.platform.linux.kinds import KINDS
from trogdor.warden import Warden

NODE = "specimen"
PATIENCE_S = 30.0
_workers = itertools.count(1)


def claim(kind: str, key: str, want: Any) -> Claim:
    worker, now = next(_workers), boot_ns()
    return Claim(f"{worker}/{key}", kind, key, want, Term(f"t{worker}", worker, now, now + 10**13))


def forked(work: Callable[[], None], armed: str = "") -> int:
    """The exit code of a process that does this, killed where it reaches the point."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            points._armed = armed or None
            os.environ[points.ARMED] = armed
            work()
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def eventually(is_so: Callable[[], bool]) -> bool:
    until = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > until:
            return False
        time.sleep(0.002)
    return True


def eyes(kind: str) -> Resource:
    """Looks at the node and shares nothing with the agents but code."""
    return Site(Path("/"), NODE, KINDS, Place.here(), boot_ns).resource(kind)


def whole_way(state: Path, claims: Sequence[Claim], point: str) -> None:
    """Everything that can happen to claims, with the time to be killed by the thread that syncs."""
    with closing(Ledger.open(state, NODE, KINDS)) as ledger:
        asyncio.run(live(ledger, claims, PATIENCE_S if point == "agent:fired.synced" else 0))
        if point == "agent:undone.synced":
            time.sleep(PATIENCE_S)


def left_behind(state: Path, claims: Sequence[Claim], warden_pid: int = -1) -> None:
    """An agent that dies in the middle of its faults."""
    warden = Warden() if warden_pid >= 0 else None
    ledger = Ledger.open(state, NODE, KINDS, watcher=warden)
    ledger.admit(claims)
    ledger.fire([each.id for each in claims])
    if warden is not None:
        os.write(warden_pid, f"{warden.pid}".encode())
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at(point: str, state: Path, claims: Sequence[Claim]) -> bool:
    """Whether the one whose point it is was killed there."""
    who = point.partition(":")[0]
    if who == "agent":
        return forked(lambda: whole_way(state, claims, point), point) == -signal.SIGKILL
    if who == "warden":
        return _warden_killed_at(point, state, claims)
    forked(lambda: left_behind(state, claims))
    if who == "replay":
        return forked(lambda: Ledger.open(state, NODE, KINDS).close(), point) == -signal.SIGKILL
    return forked(lambda: heal(state, KINDS) and None, point) == -signal.SIGKILL


def _warden_killed_at(point: str, state: Path, claims: Sequence[Claim]) -> bool:
    """A warden that is killed says nothing; one that comes to its end says what it undid."""
    told, tell = os.pipe()
    state.mkdir(parents=True, exist_ok=True)
    log = state / "warden.log"

    def work() -> None:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
        left_behind(state, claims, tell)

    forked(work, point)
    os.close(tell)
    with os.fdopen(told) as answer:
        warden = int(answer.read())
    return eventually(lambda: not _lives(warden)) and "undid" not in log.read_text()


def _lives(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def case(point: str, kind: str, state: str) -> dict[str, Any]:
    """Kills at one point, and tells what a node of one kind and its journal are then, and after the next agent."""
    with SPECIMENS[kind]() as (key, *wants):
        claims = [claim(kind, key, want) for want in wants]
        looking = eyes(kind)
        base = looking.observe(key)
        died = killed_at(point, Path(state), claims)

        def explained() -> bool:
            """The node is as it was, or as what the journal says was fired makes it."""
            fired = [each.want for each in _books(state).of_kind(kind, fired=True)]
            folds = [
                looking.fold(base, some)
                for size in range(len(fired) + 1)
                for some in itertools.combinations(fired, size)
            ]
            seen = looking.observe(key)
            return seen in folds or (seen is None and kind in MAY_BE_EMPTY)

        answer = {"died": died, "explained": eventually(explained), "base": base}
        answer["heir"] = forked(lambda: Ledger.open(Path(state), NODE, KINDS).close())
        answer["as_before"] = eventually(lambda: looking.observe(key) == base)
        answer["seen"] = looking.observe(key)
        answer["standing"] = list(looking.leftovers())
        answer["claims_left"] = not _books(state).is_empty
        looking.close()
        return answer


def _books(state: str) -> Books:
    directory = Path(state) / NODE
    return Books(read(directory)[1] if directory.exists() else [])


def program(epochs: list[list[list[Any]]], state: str) -> list[str]:
    """Runs agents one after the other, each until it closes or dies; answers where a node was not the fold."""
    with ExitStack() as stack:
        sleepers = [stack.enter_context(sleeping()) for _ in range(2)]
        wrong: list[str] = []
        for epoch in epochs:
            told, tell = os.pipe()
            forked(lambda epoch=epoch, tell=tell: _epoch(epoch, sleepers, Path(state), tell))
            os.close(tell)
            with os.fdopen(told) as lines:
                wrong += lines.read().splitlines()
        forked(lambda: Ledger.open(Path(state), NODE, KINDS).close())
        after = _Model(sleepers, [])
        return (
            wrong + [f"after all: {text}" for text in after.differences()] + [str(id_) for id_ in _books(state).claims]
        )


class _Model:
    """What the node should be: the fold of what is in force."""

    def __init__(self, sleepers: Sequence[str], wants: Iterable[tuple[str, str, Any]]) -> None:
        self.sleepers = sleepers
        self.in_force: dict[int, Claim] = {}
        self.keys = {("process", key) for key in sleepers}
        self.eyes = {kind: eyes(kind) for kind in ("nft", "process")}

    def claim_of(self, what: Sequence[Any]) -> Claim:
        kind, *rest = what
        key, want = (self.sleepers[rest[0]], "stopped") if kind == "process" else (key_of(rest[0]), rest[0])
        self.keys.add((kind, key))
        return claim(kind, key, want)

    def differences(self) -> list[str]:
        return [text for kind, key in sorted(self.keys) if (text := self._difference(kind, key))]

    def _difference(self, kind: str, key: str) -> str:
        base = "running" if kind == "process" else None
        wants = [each.want for each in self.in_force.values() if (each.kind, each.key) == (kind, key)]
        fold = self.eyes[kind].fold(base, wants)
        if eventually(lambda: self.eyes[kind].observe(key) == fold):
            return ""
        return f"{kind} {key}: {self.eyes[kind].observe(key)}, not {fold}"


def _epoch(steps: Sequence[Sequence[Any]], sleepers: Sequence[str], state: Path, tell: int) -> None:
    model = _Model(sleepers, [])
    ledger = Ledger.open(state, NODE, KINDS)
    admitted: dict[int, Claim] = {}
    for verb, *rest in steps:
        match verb:
            case "admit":
                admitted[rest[0]] = model.claim_of(rest[1])
                ledger.admit([admitted[rest[0]]])
            case "fire" if rest[0] in admitted:
                ledger.fire([admitted[rest[0]].id])
                model.in_force[rest[0]] = admitted[rest[0]]
            case "release" if rest[0] in admitted:
                ledger.release([admitted.pop(rest[0]).id], "stop")
                model.in_force.pop(rest[0], None)
            case "rearm":
                ledger.rearm()
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
        for text in model.differences():
            os.write(tell, f"after {verb} {rest}: {text}\n".encode())
    ledger.close()


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        print(json.dumps({"case": case, "program": program}[message.pop("op")](**message)), flush=True)


if __name__ == "__main__":
    main()
