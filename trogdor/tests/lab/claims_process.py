"""The test's end of claims_child.py."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import trogdor
from trogdor.lab import Node

CHILD = Path(__file__).with_name("claims_child.py")


class ClaimsProcess:
    """A process inside a node that answers each line of JSON with one."""

    def __init__(self, node: Node, directory: Path) -> None:
        self._log = directory / "stderr"
        paths = [str(Path(trogdor.__file__).parents[1]), str(CHILD.parents[1]), *sys.path]
        with self._log.open("wb") as log:
            self._process = node.popen(
                [sys.executable, str(CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            )

    def __call__(self, op: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"op": op, **arguments}).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._log.read_text()
        return json.loads(line)

    def __enter__(self) -> "ClaimsProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(60)
        self._process.close()
