"""Drives a ledger as told by lines of JSON: ``ledger_child.py STATE NODE``; ledger_process.py is the test's end."""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from trogdor.claim.ledger import Ledger
from trogdor.claim.model import Claim
from trogdor.platform.linux.kinds import KINDS
from trogdor.warden import Warden


class _Served:
    """The process's side."""

    def __init__(self, state: Path, node: str) -> None:
        self._state, self._node = state, node
        self._warden: Warden | None = None
        self._ledger: Ledger | None = None
        self._beats = threading.Event()

    @property
    def _open(self) -> Ledger:
        assert self._ledger is not None
        return self._ledger

    def open(self, warden: bool = False) -> dict[str, Any]:
        self._warden = Warden() if warden else None
        self._ledger = Ledger.open(self._state, self._node, KINDS, watcher=self._warden)
        if warden:
            threading.Thread(target=self._beat, daemon=True).start()
        ended = {str(worker): undone.by for worker, undone in self._ledger.ended.items()}
        return {"ended": ended, "epoch": self._ledger.epoch, "warden": self._warden.pid if self._warden else 0}

    def _beat(self) -> None:
        while not self._beats.is_set():
            self._open.heartbeat()
            time.sleep(0.2)

    def silence(self) -> None:
        self._beats.set()

    def warden(self) -> int:
        assert self._warden is not None
        return self._warden.pid

    def admit(self, claims: list[dict[str, Any]]) -> None:
        self._open.admit([Claim.from_json(each) for each in claims])

    def fire(self, ids: list[str]) -> dict[str, str]:
        return {id_: trouble.text for id_, trouble in self._open.fire(ids).troubles.items()}

    def release(self, ids: list[str], how: str = "end") -> dict[str, Any]:
        undone = self._open.release(ids, how)
        return {"by": undone.by, "failed": list(undone.failed)}

    def in_force(self) -> list[str]:
        return sorted(claim.id for claim in self._open.in_force())

    def close(self) -> None:
        self._beats.set()
        self._open.close()
        if self._warden is not None:
            self._warden.close()


def _serve() -> None:
    served = _Served(Path(sys.argv[1]), sys.argv[2])
    for line in sys.stdin:
        message = json.loads(line)
        try:
            answer = {"value": getattr(served, message.pop("op"))(**message)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
