"""A process inside a node whose ledger a test drives: an agent small enough to be killed anywhere (ledger_child.py)."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trogdor
from trogdor.claim.model import Claim
from trogdor.lab import Node

TERM_S = 60


class Died(Exception):
    """The process is gone; ``code`` as NodeProcess has it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exited with {code}")
        self.code = code


class LedgerProcess:
    """The test's end. Every call answers what the process's ledger answered, or raises Died."""

    def __init__(self, node: Node, state: Path, *, env: Mapping[str, str] | None = None) -> None:
        paths = [str(Path(trogdor.__file__).parents[1]), str(Path(__file__).parents[1])]
        self.log = state / "stderr"
        state.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = node.popen(
                [sys.executable, str(Path(__file__).with_name("ledger_child.py")), str(state), node.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **(env or {}), "PYTHONPATH": os.pathsep.join(paths)},
            )

    def __call__(self, op: str, **arguments: Any) -> Any:
        self.tell(op, **arguments)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Died(self.process.wait(TERM_S))
        answer = json.loads(line)
        assert "error" not in answer, answer["error"] + self.log.read_text()
        return answer["value"]

    def tell(self, op: str, **arguments: Any) -> None:
        """Asks for something and does not wait for the answer."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"op": op, **arguments}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Died(self.process.wait(TERM_S)) from None

    def admit(self, *claims: Claim) -> None:
        self("admit", claims=[claim.to_json() for claim in claims])

    def __enter__(self) -> "LedgerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(TERM_S)
        self.process.close()
