"""PowerShell: scripts out of values that nothing of is ever taken for a command. Standard library only."""

import base64
import subprocess
from collections.abc import Iterable

TIMEOUT_S = 30.0


def quoted(text: str) -> str:
    """A literal string: nothing in single quotes is expanded, and a quote is doubled."""
    return "'" + text.replace("'", "''") + "'"


def listed(texts: Iterable[str]) -> str:
    """A literal array of strings."""
    return "@(" + ",".join(map(quoted, texts)) + ")"


def command(script: str) -> list[str]:
    """What runs a script: encoded, so that no shell reads it on its way; errors end it."""
    text = "$ErrorActionPreference = 'Stop'; $ProgressPreference = 'SilentlyContinue'; " + script
    encoded = base64.b64encode(text.encode("utf-16-le")).decode()
    return ["powershell.exe", "-NoLogo", "-NoProfile", "-NonInteractive", "-EncodedCommand", encoded]


def run(script: str) -> str:
    """What a script prints. Raises OSError with its complaint when it fails."""
    try:
        done = subprocess.run(command(script), capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise OSError(f"PowerShell: no answer within {TIMEOUT_S:g} s") from None
    if done.returncode:
        raise OSError(f"PowerShell: {done.stderr.strip()[-500:] or done.returncode}")
    return done.stdout
