"""A machine reached by OpenSSH's client, with the part of ducktape's RemoteAccount that installing needs."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Account(Protocol):
    """Where a shell's commands are run: ducktape's RemoteAccount, or ours. Each raises when a command fails."""

    def ssh(self, cmd: str, allow_fail: bool = False) -> int:
        """Run a command; returns its exit code."""

    def ssh_output(self, cmd: str, allow_fail: bool = False) -> bytes:
        """Run a command; returns what it wrote."""

    def copy_to(self, src: str, dest: str) -> None:
        """Copy a directory to one that is not there yet."""


class SshError(Exception):
    """ssh could not run a command, or the command failed; says where, and what was written."""

    def __init__(self, destination: str, code: int, said: str) -> None:
        super().__init__(f"{destination}: {said.strip() or f'exit {code}'}")
        self.unreachable = code == 255


@dataclass(frozen=True)
class SshAccount:
    """``[USER@]HOST`` as ssh(1) understands it; keys, ports and jumps are ssh's own configuration.

    sudo: commands are run by ``sudo -n``, for a login that is not root's.
    """

    destination: str
    options: Sequence[str] = ()
    sudo: bool = False

    def ssh(self, cmd: str, allow_fail: bool = False) -> int:
        """Run a command; returns its exit code. Raises SshError."""
        return self._run(cmd, allow_fail).returncode

    def ssh_output(self, cmd: str, allow_fail: bool = False) -> bytes:
        """Run a command; returns what it wrote to standard output. Raises SshError."""
        return self._run(cmd, allow_fail).stdout

    def copy_to(self, src: str, dest: str) -> None:
        """Copy the files of a directory into a new one. Raises SshError."""
        with subprocess.Popen(["tar", "-c", "-C", src, "."], stdout=subprocess.PIPE) as packed:
            self._run(f"mkdir {dest} && tar -x -C {dest} --no-same-owner", False, packed.stdout)

    def hostname(self) -> str:
        """The name or address that ssh's configuration has for the destination."""
        asked = subprocess.run(
            ["ssh", *self.options, "-G", self.destination], capture_output=True, text=True, check=False
        )
        lines = dict(line.split(" ", 1) for line in asked.stdout.splitlines() if " " in line)
        return lines.get("hostname") or self.destination.rpartition("@")[2]

    def _run(
        self, cmd: str, allow_fail: bool, stdin: object = subprocess.DEVNULL
    ) -> subprocess.CompletedProcess[bytes]:
        shell = f"sh -c {shlex.quote(cmd)}"
        command = ["ssh", "-T", "-o", "BatchMode=yes", *self.options, self.destination]
        ran: subprocess.CompletedProcess[bytes] = subprocess.run(
            [*command, f"sudo -n {shell}" if self.sudo else shell],
            stdin=stdin,  # type: ignore[call-overload]
            capture_output=True,
            check=False,
        )
        if ran.returncode == 255 or (ran.returncode and not allow_fail):
            raise SshError(self.destination, ran.returncode, ran.stderr.decode(errors="replace"))
        return ran


def options_of(config: Path | None) -> list[str]:
    """ssh's options for a configuration file of its own."""
    return ["-F", str(config)] if config else []
