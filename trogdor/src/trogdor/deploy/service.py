"""The daemons of an installation: a systemd unit where systemd runs, else a process with a pid file."""

from __future__ import annotations

import json
import shlex
from typing import Any

from trogdor.deploy import daemon
from trogdor.deploy.install import Installation

TROGDOR = "trogdor"
START_TIMEOUT_S = 60
_UNITS = "/etc/systemd/system"
_UNIT = """\
[Unit]
Description=Trogdor {role} of {node}
Wants=network-online.target
After=network-online.target

[Service]
ExecStart={command}
# SIGTERM to the agent alone: it ends its faults, and its warden with it. A warden that outlives a killed agent is left
# to undo what the journal holds.
KillMode=process
TimeoutStopSec=10
Restart=on-failure
RestartSec=1

[Install]
WantedBy=multi-user.target
"""
_START_UNIT = """\
set -e
printf %s {config} >{config_path}
printf %s {unit} >{unit_path}
systemctl daemon-reload
systemctl enable --quiet {name}
systemctl restart {name}
"""
_STOP_UNIT = "systemctl disable --quiet --now {name} && rm -f -- {path} && systemctl daemon-reload"
_CHECK = """\
import json, sys, time, urllib.request
url, seconds = sys.argv[1], float(sys.argv[2])
until = time.monotonic() + seconds
while True:
    try:
        json.load(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5))
        break
    except (OSError, ValueError) as error:
        if time.monotonic() > until:
            sys.exit(f"{url} does not answer: {error}")
        time.sleep(0.1)
"""


def start(installation: Installation, config: dict[str, Any], node: str, role: str, port: int) -> str:
    """Start an agent or a coordinator, and return once it answers; says what holds it.

    An earlier one of this installation is ended first. Raises the account's error with the end of the daemon's log.
    """
    home, account = installation.home, installation.account
    config_path, text = f"{home}/{role}.json", json.dumps(config, indent=2)
    command = f"{installation.program(TROGDOR)} {role} -c {config_path} -n {shlex.quote(node)} --state {home}/state"
    if account.ssh("[ -d /run/systemd/system ]", allow_fail=True) == 0:
        name = f"trogdor-{role}"
        unit_path = f"{_UNITS}/{name}.service"
        installation.note(unit_path)
        unit = shlex.quote(_UNIT.format(role=role, node=node, command=command))
        account.ssh(
            _START_UNIT.format(
                config=shlex.quote(text), config_path=config_path, unit=unit, unit_path=unit_path, name=name
            )
        )
        held_by, log = f"{name}.service", f"journalctl -u {name} -n 20 --no-pager"
    else:
        pid_file = f"{home}/{role}.pid"
        daemon.stop(account, pid_file)
        daemon.start(account, command, pid_file=pid_file, log=f"{home}/{role}.log", files={config_path: text})
        held_by, log = pid_file, f"tail -n 20 {home}/{role}.log"
    url = f"http://127.0.0.1:{port}/{role}/status"
    check = f"{home}/venv/bin/python -I -c {shlex.quote(_CHECK)} {url} {START_TIMEOUT_S}"
    account.ssh(f"{check} || {{ {log} >&2; exit 1; }}")
    return held_by


def stop_all(installation: Installation) -> None:
    """End the daemons of an installation, and undo what a dead one may have left in its journals.

    Raises the account's error when one remains, or a fault does.
    """
    account, home = installation.account, installation.home
    for path in installation.noted():
        if path.startswith(f"{_UNITS}/"):
            account.ssh(_STOP_UNIT.format(name=path.rpartition("/")[2].removesuffix(".service"), path=path))
    for role in ("coordinator", "agent"):
        daemon.stop(account, f"{home}/{role}.pid")
    if account.ssh(f"[ -x {installation.program(TROGDOR)} ] && [ -d {home}/state ]", allow_fail=True) == 0:
        account.ssh(f"{installation.program(TROGDOR)} heal --local --state {home}/state >&2")
