"""Daemons on machines that are reached by ssh: told apart from strangers by pid and start time."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

from trogdor.deploy.account import Account

_START = """\
mkdir -p {directories} || exit 1
{files}
setsid nohup {command} >>{log} 2>&1 </dev/null &
pid=$!
echo "$pid $({start_time})" >{pid_file}
"""
_START_TIME = "sed 's/.*) //' /proc/$pid/stat 2>/dev/null | cut -d' ' -f20"
_RUNS = f"""\
read pid since 2>/dev/null <{{pid_file}} && [ -n "$since" ] && [ "$({_START_TIME})" = "$since" ]
"""
_STOP = """\
runs() {{ {runs}; }}
if runs; then
    kill -{signal} $pid
    for turn in $(seq {turns}); do runs || break; sleep 0.1; done
    runs && kill -KILL $pid
    for turn in $(seq 100); do runs || break; sleep 0.1; done
    runs && exit 1
fi
{then}
"""
_TERM_TURNS = 200


def start(account: Account, command: str, *, pid_file: str, log: str, files: Mapping[str, str] | None = None) -> None:
    """Write its files (path → text), and start a daemon in a session of its own, its output appended to ``log``.

    Its pid and start time go to ``pid_file``. The directories of all these are made.
    """
    texts = files or {}
    directories = sorted({os.path.dirname(path) for path in (pid_file, log, *texts)})
    account.ssh(
        _START.format(
            directories=shlex.join(directories),
            files="\n".join(f"printf %s {shlex.quote(text)} >{shlex.quote(path)}" for path, text in texts.items()),
            command=command,
            log=shlex.quote(log),
            pid_file=shlex.quote(pid_file),
            start_time=_START_TIME,
        )
    )


def runs(account: Account, pid_file: str) -> bool:
    """Whether the daemon that was started with this pid file runs."""
    return account.ssh(_condition(pid_file), allow_fail=True) == 0


def pid(account: Account, pid_file: str) -> int | None:
    """The daemon's pid; None when it does not run."""
    said = account.ssh_output(f"{_condition(pid_file)} && echo $pid", allow_fail=True).split()
    return int(said[0]) if said else None


def stop(account: Account, pid_file: str, *, then: str = "true", signal: str = "TERM") -> None:
    """End it: the signal, 20 s, SIGKILL; nothing if it does not run. Once it has ended, run ``then``.

    Raises the account's error if it remains.
    """
    account.ssh(_STOP.format(runs=_condition(pid_file), signal=signal, turns=_TERM_TURNS, then=then))


def _condition(pid_file: str) -> str:
    return _RUNS.format(pid_file=shlex.quote(pid_file)).strip()
