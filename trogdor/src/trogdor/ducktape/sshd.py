"""sshd in a lab's nodes: a host key and a login key of its own, nothing of the machine's configuration."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from trogdor.lab.runtime import LabError

if TYPE_CHECKING:
    from trogdor.lab import Lab, Node

HOME = "/var/lib/trogdor/ssh"
_CONFIG = f"""\
HostKey {HOME}/host_key
AuthorizedKeysFile {HOME}/authorized_keys
PidFile none
PermitRootLogin yes
PasswordAuthentication no
UsePAM no
StrictModes no
UseDNS no
PrintMotd no
KexAlgorithms ^curve25519-sha256,curve25519-sha256@libssh.org
MaxStartups 1000
MaxSessions 1000
Subsystem sftp internal-sftp
"""
_READY_TIMEOUT_S = 60.0
_POLL_S = 0.05


def start(lab: Lab) -> Path:
    """Start sshd on each node of a lab; returns the file with the key that opens root's login.

    Raises LabError that says what is missing, or with the log of an sshd that does not answer.
    """
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if os.geteuid() != 0 or program is None:
        lacks = "root: sshd changes users" if program else "sshd: apt-get install openssh-server"
        raise LabError(f"nodes that are reached by ssh need {lacks}")
    keys = lab.state / "ssh"
    keys.mkdir(mode=0o700, exist_ok=True)
    for name in ("login_key", "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", keys / name], check=True)
    for node in lab.nodes.values():
        _start_one(node, program, keys)
    until = time.monotonic() + _READY_TIMEOUT_S
    for node in lab.nodes.values():
        _await_banner(node, until)
    return keys / "login_key"


def _start_one(node: Node, program: str, keys: Path) -> None:
    home = node.path(HOME)
    home.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(keys / "host_key", home / "host_key")
    shutil.copy(keys / "login_key.pub", home / "authorized_keys")
    path = os.environ.get("PATH", os.defpath)
    # As a shell within a shell, bash reads no ~/.bashrc, which may cost more than the command.
    (home / "sshd_config").write_text(f'{_CONFIG}SetEnv "PATH={path}" SHLVL=1\n')
    node.exec(["mkdir", "-p", "-m", "755", "/run/sshd"], check=True)
    node.popen([program, "-D", "-e", "-f", f"{HOME}/sshd_config"], log="sshd")


def _await_banner(node: Node, until: float) -> None:
    while True:
        try:
            with node.connect("127.0.0.1", 22) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            pass
        if time.monotonic() > until:
            raise LabError(f"sshd on {node.name} does not answer:\n{node.log('sshd')[-2000:]}")
        time.sleep(_POLL_S)
