"""One version of Trogdor, or of Kibosh, below a directory of its own, from wheels; and exactly that taken away again.

/opt/trogdor/0.1.0/manifest     every path that was made, one a line; the first to be written
/opt/trogdor/0.1.0/digest       of the wheel; written when all is installed
/opt/trogdor/0.1.0/venv/        the environment; venv/bin/trogdor
/opt/trogdor/0.1.0/state/       the daemons' journals, store and sockets
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from trogdor.deploy.account import Account
from trogdor.deploy.wheels import Wheels

PREFIX = "/opt/trogdor"

_BEGIN = """\
command -v {python} >/dev/null && {python} -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' || {{
    echo "Python 3.11 or newer is needed, by the name {python}" >&2; exit 1; }}
[ ! -e {home} ] || {{ echo "{home} is there already, and has no manifest of ours" >&2; exit 1; }}
mkdir -p {home} && echo {home} >{home}/manifest
"""
_FILL = """\
cd {home} && {python} -I -m venv --without-pip venv || exit 1
pip=$(echo wheels/pip-*.whl)
venv/bin/python -I $pip/pip install -q --disable-pip-version-check --no-cache-dir --no-compile \
    --no-index --find-links wheels {distribution} >install.log 2>&1 || {{ tail -n 20 install.log >&2; exit 1; }}
rm -rf wheels install.log && echo {digest} >digest
"""
_NOTE = """\
grep -qxF -e {path} {manifest} && exit
[ ! -e {path} ] || {{ echo {path} "is there already, and not ours" >&2; exit 1; }}
echo {path} >>{manifest}
"""
_INSTALLED = 'for each in {prefix}/*/manifest; do [ ! -e "$each" ] || echo "${{each%/manifest}}"; done'
_REMOVE = """\
[ -e {home}/manifest ] || exit 0
while read -r path; do [ "$path" = {home} ] || rm -rf -- "$path"; done <{home}/manifest
rm -rf -- {home}
rmdir {prefix} 2>/dev/null || true
"""


@dataclass(frozen=True)
class Installation:
    """A version on a machine."""

    account: Account
    home: str

    def program(self, name: str) -> str:
        """The path of one of its programs."""
        return f"{self.home}/venv/bin/{name}"

    def is_from(self, wheels: Wheels) -> bool:
        """Whether it was installed, to the end, from this very wheel."""
        digest = self.account.ssh_output(f"cat {self.home}/digest", allow_fail=True).decode().strip()
        return digest == wheels.digest

    def note(self, path: str) -> None:
        """Put a path that is to be made into the manifest. Raises the account's error if it is somebody else's."""
        self.account.ssh(_NOTE.format(path=shlex.quote(path), manifest=f"{self.home}/manifest"))

    def noted(self) -> list[str]:
        """The paths of the manifest."""
        return self.account.ssh_output(f"cat {self.home}/manifest").decode().split("\n")[:-1]

    def remove(self) -> None:
        """Take away what the manifest names, and the prefix if nothing else is in it. Nothing of it may run."""
        prefix = self.home.rpartition("/")[0]
        self.account.ssh(_REMOVE.format(home=self.home, prefix=prefix))


def install(account: Account, wheels: Wheels, prefix: str = PREFIX, python: str = "python3") -> Installation:
    """Install from wheels alone; nothing if just that is there. What is there of that version is replaced: none of it
    may run.

    python: the name of Python on the machine. Raises the account's error with the end of what pip said.
    """
    found = Installation(account, home_of(wheels, prefix))
    if found.is_from(wheels):
        return found
    names = {"home": found.home, "python": python, "digest": wheels.digest, "distribution": wheels.distribution}
    found.remove()
    account.ssh(_BEGIN.format(**names))
    try:
        account.copy_to(str(wheels.directory), f"{found.home}/wheels")
        account.ssh(_FILL.format(**names))
    except BaseException:
        found.remove()
        raise
    return found


def home_of(wheels: Wheels, prefix: str) -> str:
    """The directory of the version that these wheels have."""
    return f"{prefix}/{wheels.version}"


def installed(account: Account, prefix: str = PREFIX) -> list[Installation]:
    """Every version that is installed below the prefix."""
    homes = account.ssh_output(_INSTALLED.format(prefix=prefix)).decode().split()
    return [Installation(account, home) for home in homes]
