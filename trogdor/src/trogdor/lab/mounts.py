"""What a node sees of the machine's files: all of them, but for those that are its own."""

from __future__ import annotations

import os

from trogdor.lab.kernel import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_REC, bind, mount
from trogdor.lab.plan import LOG_DIRECTORY, NodePlan, Plan

_MEMORY = ("/run", "/dev/shm")
_FILES = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")


def prepare_base(plan: Plan) -> None:
    """In the lab's mount namespace: cut it off from the machine's, and make missing mount points."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    mount_proc()
    for directory in plan.directories:
        if not os.path.isdir(directory):
            _make_point(directory, is_directory=True)
    if not os.path.exists("/etc/hosts"):
        _make_point("/etc/hosts", is_directory=False)


def mount_proc() -> None:
    """The /proc of the pid namespace that the caller is in."""
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _make_point(point: str, is_directory: bool) -> None:
    """Make a mount point that the machine lacks, in sight of the lab only.

    The nearest directory above it that exists is covered with one in memory, and what was in that
    directory is bound back into it.
    """
    above = os.path.dirname(point)
    while not os.path.isdir(above):
        above = os.path.dirname(above)
    if above == "/":
        raise FileNotFoundError(0, "no directory but / is above it; name one below another", point)
    before = os.open(above, os.O_PATH | os.O_DIRECTORY)
    original = f"/proc/self/fd/{before}"
    mount("tmpfs", above, "tmpfs", data="mode=755")
    for name in os.listdir(original):
        _bring_back(f"{original}/{name}", f"{above}/{name}")
    os.close(before)
    if is_directory:
        os.makedirs(point)
    else:
        os.makedirs(os.path.dirname(point), exist_ok=True)
        _touch(point)


def _bring_back(original: str, copy: str) -> None:
    if os.path.islink(original):
        os.symlink(os.readlink(original), copy)
        return
    if os.path.isdir(original):
        os.mkdir(copy)
    else:
        _touch(copy)
    bind(original, copy)


def _touch(file: str) -> None:
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600))


def prepare_node(plan: Plan, node: NodePlan) -> None:
    """In a node's own mount namespace: its directories, its files, its /proc, and what is shared on purpose."""
    shared = [(path, os.open(path, os.O_PATH)) for path in plan.share]
    _fill_home(plan, node)
    os.chdir(plan.home(node.name))
    mount_proc()
    for file in _FILES:
        if os.path.exists(file):
            bind(file[1:], file)
    for directory in plan.directories:
        bind(directory[1:], directory)
    for directory in _MEMORY:
        mount("tmpfs", directory, "tmpfs", MS_NOSUID | MS_NODEV)
    for path, descriptor in shared:
        source = f"/proc/self/fd/{descriptor}"
        os.makedirs(path if os.path.isdir(source) else os.path.dirname(path), exist_ok=True)
        if not os.path.isdir(source):
            _touch(path)
        bind(source, path)
        os.close(descriptor)
    os.chdir("/")


def _fill_home(plan: Plan, node: NodePlan) -> None:
    home = plan.home(node.name)
    for directory in ("/etc", LOG_DIRECTORY, *plan.directories):
        os.makedirs(home + directory, exist_ok=True)
    os.chmod(f"{home}/tmp", 0o1777)
    hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" + "".join(
        f"{address}\t{other.name}\n" for other in plan.nodes for address, _ in other.addresses
    )
    _write(f"{home}/etc/hosts", hosts)
    _write(f"{home}/etc/hostname", f"{node.name}\n")
    _write(f"{home}/etc/resolv.conf", "# A lab has no name server: see /etc/hosts.\n")


def _write(file: str, text: str) -> None:
    with open(file, "w") as out:
        out.write(text)
