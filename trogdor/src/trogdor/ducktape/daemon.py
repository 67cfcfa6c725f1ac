"""Trogdor's daemons on nodes that are reached by ssh: told apart from strangers by pid and start time."""

from __future__ import annotations

import shlex
from typing import Any

_START = """\
mkdir -p {directory}
printf %s {config} >{config_path}
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
    kill -TERM $pid
    for turn in $(seq {turns}); do runs || break; sleep 0.1; done
    runs && kill -KILL $pid
    for turn in $(seq 100); do runs || break; sleep 0.1; done
    runs && exit 1
fi
{then}
"""
_TERM_TURNS = 200


def start(account: Any, directory: str, name: str, command: str, config_path: str, config: str) -> None:
    """Write the configuration, and start a daemon in a session of its own.

    Its pid and start time go to ``DIRECTORY/NAME.pid``, its output to ``DIRECTORY/trogdor-NAME.log``.
    """
    account.ssh(
        _START.format(
            directory=directory,
            config=shlex.quote(config),
            config_path=config_path,
            command=command,
            log=f"{directory}/trogdor-{name}.log",
            pid_file=f"{directory}/{name}.pid",
            start_time=_START_TIME,
        )
    )


def runs(account: Any, pid_file: str) -> bool:
    """Whether the daemon that was started with this pid file runs."""
    return bool(account.ssh(_RUNS.format(pid_file=shlex.quote(pid_file)), allow_fail=True) == 0)


def stop(account: Any, pid_file: str, then: str = "true") -> None:
    """End it: SIGTERM, 20 s, SIGKILL; nothing if it does not run. Once it has ended, run ``then``.

    Raises RemoteCommandError if it remains.
    """
    condition = _RUNS.format(pid_file=shlex.quote(pid_file)).strip()
    account.ssh(_STOP.format(runs=condition, turns=_TERM_TURNS, then=then))
