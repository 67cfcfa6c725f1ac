"""An agent with one fault, of the file ``thing`` beside its state; while ``stuck`` is there it cannot be undone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from trogdor.claim.ledger import boot_ns
from trogdor.claim.model import Claim, Json, Term, Trouble
from trogdor.claim.resource import Resource


class Stuck(Resource):
    """A file's text; the key is its path."""

    kind = "stuck"

    def base(self, key: str) -> Json:
        return self.observe(key)

    def apply(self, claims: Sequence[Claim], bases: Mapping[str, Json], now_ns: int) -> Mapping[str, Trouble]:
        for key, base in bases.items():
            if not claims and Path(key).with_name("stuck").exists():
                raise OSError("it is stuck")
            Path(key).write_text(self.fold(base, [claim.want for claim in claims]))
        return {}

    @staticmethod
    def fold(base: Json, wants: Sequence[Json]) -> Json:
        return wants[-1] if wants else base

    def observe(self, key: str) -> Json:
        return Path(key).read_text()


PLATFORM: Any = SimpleNamespace(name="stuck", faults={}, kinds={"stuck": f"{__name__}:Stuck"}, missing=dict)


def main(stopped: bool) -> None:
    """``trogdor agent``, the fault in force; ``stopped``: it was to be undone already."""
    from trogdor.agent import daemon
    from trogdor.cli.main import main as trogdor
    from trogdor.warden import Warden

    def open_agent(options: daemon.Options) -> daemon.Agent:
        agent = daemon.Agent(options, PLATFORM, Warden())
        ledger, now_ns = agent._own.ledger, boot_ns()
        thing = str(options.state_dir.with_name("thing"))
        ledger.admit([Claim("1", "stuck", thing, "faulty", Term("t1", 1, now_ns, now_ns + 3600 * 10**9))])
        ledger.fire(["1"])
        if stopped:
            ledger.release(["1"], "stop")
        return agent

    daemon.open_agent = open_agent
    daemon.OVERDUE_S = 0.1
    trogdor()
