"""Questions about the world, answered by a short-lived child process: ``python -m trogdor.compose.resolve``.

A resolver is ``resolve(topology, role, options) -> names of nodes``, found by its name among the entry points
``trogdor.resolvers``. It may be slow, crash or hang: the child is ended at its deadline.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import metadata
from typing import Any

from trogdor.compose.expand import Question
from trogdor.topology import Topology, topology_of

MAX_ANSWER_BYTES = 1 << 20
GROUP = "trogdor.resolvers"
BUILT_IN = {"etcd": "trogdor.compose.etcd:resolve"}

Resolver = Callable[[Topology, str, Mapping[str, Any]], list[str]]


class Unresolved(Exception):
    """A question without an answer; says who was asked and why there is none."""


async def resolve(question: Question, topology: dict[str, Any]) -> list[str]:
    """The nodes that are the answer; ``topology`` as in the configuration file. Raises Unresolved."""
    if question.command:
        argv, given = list(question.command), ""
    else:
        argv = [sys.executable, "-m", "trogdor.compose.resolve"]
        asked = {"resolve": question.resolve, "role": question.role, "options": dict(question.options)}
        given = json.dumps({**asked, "topology": topology})
    who = " ".join(question.command) or question.resolve
    output = await _run(argv, given, who, question.deadline_ms / 1000)
    return list(dict.fromkeys(output.decode(errors="replace").split()))


async def _run(argv: list[str], given: str, who: str, deadline_s: float) -> bytes:
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe)
    except OSError as error:
        raise Unresolved(f"{who}: {error.strerror}") from None
    try:
        async with asyncio.timeout(deadline_s):
            output, complaint = await process.communicate(given.encode())
    except TimeoutError:
        raise Unresolved(f"{who}: no answer within {deadline_s:g} s") from None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode:
        last = complaint.decode(errors="replace").strip().splitlines()[-1:]
        raise Unresolved(f"{who}: ended with {process.returncode}" + (f": {last[0]}" if last else ""))
    return output[:MAX_ANSWER_BYTES]


def find(name: str) -> Resolver:
    """A resolver by its name. Raises LookupError with the names there are."""
    found = {point.name: point for point in metadata.entry_points(group=GROUP)}
    if name in BUILT_IN:
        return metadata.EntryPoint(name, BUILT_IN[name], GROUP).load()  # type: ignore[no-any-return]
    if name not in found:
        raise LookupError(f"no resolver {name!r}, only {', '.join(sorted({*found, *BUILT_IN}))}")
    return found[name].load()  # type: ignore[no-any-return]


def main() -> None:
    """Answers one question from standard input: node names, one a line."""
    asked = json.load(sys.stdin)
    try:
        names = find(asked["resolve"])(topology_of(asked["topology"]), asked["role"], asked["options"])
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print("\n".join(names))


if __name__ == "__main__":
    main()
