"""Has questions answered by a short-lived child process, ``python -m trogdor.resolve``.

A resolver may be slow, crash or hang: the child, with all that it started, is ended at its deadline.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from trogdor.compose.question import Answer, Question

SOURCE = Path(__file__).resolve().parents[2]


class Unresolved(Exception):
    """Questions without an answer; says who was asked and why there is none."""


async def resolve(questions: Sequence[Question], topology: dict[str, Any]) -> list[Answer]:
    """An answer to each question; ``topology`` as in the configuration file. Raises Unresolved."""
    asked = [{"resolve": each.resolve, "role": each.role, "options": dict(each.options)} for each in questions]
    given = json.dumps({"topology": topology, "questions": asked})
    deadline_ms = max((question.deadline_ms for question in questions), default=0)
    who = ", ".join(question.words for question in questions)
    told = json.loads(await _run(given, who, deadline_ms / 1000))["answers"]
    if failures := [
        f"{each.words}: {told['error']}" for each, told in zip(questions, told, strict=True) if "error" in told
    ]:
        raise Unresolved("; ".join(failures))
    return [Answer(tuple(each["nodes"]), each["how"], each["epoch"], each["tookMs"]) for each in told]


async def _run(given: str, who: str, deadline_s: float) -> bytes:
    pipe = asyncio.subprocess.PIPE
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")])),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "trogdor.resolve", stdin=pipe, stdout=pipe, stderr=pipe, env=environment,
        start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(deadline_s):
            output, complaint = await process.communicate(given.encode())
    except TimeoutError:
        raise Unresolved(f"{who}: no answer within {deadline_s:g} s") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode:
        last = complaint.decode(errors="replace").strip().splitlines()[-1:]
        raise Unresolved(f"{who}: ended with {process.returncode}" + (f": {last[0]}" if last else ""))
    return output
