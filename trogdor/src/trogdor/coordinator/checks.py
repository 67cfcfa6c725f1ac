"""The check that a schedule carries: run each so often while its faults come and go, and once at the end."""

import asyncio
import os
import signal
import tempfile
from contextlib import suppress

from trogdor.hunt.check import last_words
from trogdor.instant import NS_PER_MS, NS_PER_S, Clock
from trogdor.spec.schedule import CheckCommand


async def failure_until(end_ns: int, check: CheckCommand, clock: Clock, begin_ns: int) -> str:
    """Runs a check from one instant of CLOCK_BOOTTIME to another; why it failed, at once, or nothing when it never did.

    Cancelled, it ends a check that is under way, with all that it has started.
    """
    at_ns = begin_ns
    while at_ns < end_ns:
        at_ns = min(max(at_ns + check.every_ms * NS_PER_MS, clock.boot_ns()), end_ns)
        await asyncio.sleep(max(0, at_ns - clock.boot_ns()) / NS_PER_S)
        if why := await _run(check):
            return why
    return ""


async def _run(check: CheckCommand) -> str:
    """Why it failed, in the command's last words; nothing: all is well."""
    try:
        with tempfile.TemporaryFile() as output:
            process = await asyncio.create_subprocess_exec(
                *check.command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, cwd="/",
                start_new_session=True,
            )  # fmt: skip
            code = await _ended(process, check.timeout_ms / 1000)
            words = last_words(output.fileno())
    except OSError as error:
        return f"{check.command[0]}: {error.strerror}"
    if code is None:
        return f"no answer within {check.timeout_ms / 1000:g} s"
    return "" if code == 0 else f"exit code {code}" + (f": {words}" if words else "")


async def _ended(process: asyncio.subprocess.Process, timeout_s: float) -> int | None:
    """Its exit code, or None when it took too long; nothing of it is left when this returns."""
    try:
        async with asyncio.timeout(timeout_s):
            return await process.wait()
    except TimeoutError:
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
