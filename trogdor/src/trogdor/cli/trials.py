"""The trials of ``trogdor doctor``: each primitive that faults are made of, tried in a throwaway namespace.

``python -m trogdor.cli.trials`` leaves the machine's namespaces before it tries anything, and prints what came of it.
"""

import ctypes
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

TRIAL_S = 10.0
PACKAGES = {"tc": "iproute2", "iptables": "iptables", "fusermount3": "fuse3", "etcd": "etcd-server"}
_UNSYNCHRONIZED = 0x40
"""STA_UNSYNC of adjtimex(2)."""


class Missing(Exception):
    """A trial that failed: what was said, and the shell command (as root) that may mend it."""

    def __init__(self, said: str, fix: str = "") -> None:
        super().__init__(said)
        self.fix = fix


@dataclass(frozen=True)
class Trial:
    """What came of one trial."""

    name: str
    used_for: str
    needed: bool
    """Without it Trogdor's main faults, or its lab, do not work here."""
    works: bool
    said: str = ""
    fix: str = ""


def run_trials() -> list[Trial]:
    """Tries everything, the network in a child that has left this machine's namespaces."""
    return [*_try_all(OUTSIDE), *_inside()]


def _inside() -> list[Trial]:
    command = [sys.executable, "-m", "trogdor.cli.trials"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=6 * TRIAL_S, env=environment, check=False
        )
        return [Trial(**entry) for entry in json.loads(done.stdout)]
    except (subprocess.TimeoutExpired, ValueError, TypeError) as error:
        return [Trial("namespaces", "the lab", True, False, f"the trial itself broke: {error}")]


Test = tuple[str, str, bool, Callable[[], str]]


def _try_all(tests: list[Test]) -> Iterator[Trial]:
    for name, used_for, needed, test in tests:
        try:
            yield Trial(name, used_for, needed, True, test())
        except Missing as missing:
            yield Trial(name, used_for, needed, False, str(missing), missing.fix)
        except Exception as error:
            yield Trial(name, used_for, needed, False, str(error) or type(error).__name__)


def _platform() -> str:
    from trogdor.platform import here
    from trogdor.platform.windows import NEVER_RUN

    if here().name == "windows":
        raise Missing(NEVER_RUN)
    return f"{here().name}; {NEVER_RUN}"


def _privileges() -> str:
    from trogdor.platform.linux.capabilities import lacking

    if missing := lacking():
        raise Missing(f"without {', '.join(missing)} an agent cannot inject into this machine itself; the lab can do")
    return "root" if os.geteuid() == 0 else "the capabilities are there"


def _pidfd() -> str:
    descriptor = os.pidfd_open(os.getpid())
    try:
        signal.pidfd_send_signal(descriptor, 0)
    finally:
        os.close(descriptor)
    return ""


def _freezer() -> str:
    own = Path("/proc/self/cgroup").read_text().splitlines()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, kind = line.partition(" - ")
        top = Path(mount.split()[4])
        if kind.startswith("cgroup2 "):
            path = next((entry[3:] for entry in own if entry.startswith("0::")), "/")
            directory = top / path.lstrip("/")
            if (directory / "cgroup.freeze").exists() or list(top.glob("*/cgroup.freeze")):
                return "version 2" + ("" if os.access(top, os.W_OK) else "; making a group needs root")
        elif kind.startswith("cgroup ") and "freezer" in kind.rpartition(" ")[2].split(","):
            return "version 1" + ("" if os.access(top, os.W_OK) else "; making a group needs root")
    raise Missing("no cgroup hierarchy here has a freezer; trees of processes are stopped one by one")


def _nice() -> str:
    try:
        _in_child(lambda: os.setpriority(os.PRIO_PROCESS, 0, -20))
    except OSError:
        raise Missing("CAP_SYS_NICE is missing: under load faults fire some ms later") from None
    return ""


def _in_child(action: Callable[[], None]) -> None:
    """Does it in a child of its own, which keeps the consequences. Raises the OSError that it met there."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except OSError as error:
            os._exit(error.errno or 255)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))


def _fuse() -> str:
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        raise Missing(f"/dev/fuse: {error.strerror}", "modprobe fuse" if os.geteuid() == 0 else "") from None
    return _has_program("fusermount3")


def _clock() -> str:
    buffer = ctypes.create_string_buffer(512)
    state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    status = int.from_bytes(buffer.raw[40:44], sys.byteorder)  # struct timex: five longs before it
    if state < 0 or status & _UNSYNCHRONIZED:
        raise Missing("no daemon keeps the clock; times of several machines are compared by round trips alone")
    return ""


def _etcd() -> str:
    return os.environ.get("ETCD_BIN") or _has_program("etcd")


def _has_program(name: str) -> str:
    path = os.defpath + ":/usr/sbin:/sbin:" + os.environ.get("PATH", "")
    found = shutil.which(name, path=path)
    if not found:
        raise Missing(f"{name} is missing", f"apt-get install -y {PACKAGES[name]}")
    return found


OUTSIDE: list[Test] = [
    ("platform", "every fault", True, _platform),
    ("privileges", "agents on this machine itself", False, _privileges),
    ("pidfd", "pausing processes", True, _pidfd),
    ("freezer", "pausing whole trees of processes", False, _freezer),
    ("nice -20", "firing on time under load", False, _nice),
    ("fuse", "disk faults (Kibosh)", False, _fuse),
    ("time sync", "times of several machines", False, _clock),
    ("etcd", "trogdor demo", False, _etcd),
]


def _namespaces() -> str:
    from trogdor.lab import kernel
    from trogdor.lab.reasons import explain

    as_root = os.geteuid() == 0
    steps: list[tuple[str, Callable[[], None]]] = [
        ("user namespace", lambda: None if as_root else kernel.enter_user_namespace()),
        ("mount namespace", lambda: kernel.unshare(kernel.CLONE_NEWNS)),
        ("network namespace", lambda: kernel.unshare(kernel.CLONE_NEWNET)),
        ("pid namespace", lambda: _in_child(lambda: kernel.unshare(kernel.CLONE_NEWPID))),
        ("uts namespace", lambda: kernel.unshare(kernel.CLONE_NEWUTS)),
        ("ipc namespace", lambda: kernel.unshare(kernel.CLONE_NEWIPC)),
        ("private mounts", lambda: kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)),
        ("private /run", lambda: kernel.mount("tmpfs", "/run", "tmpfs")),
    ]
    for step, take in steps:
        try:
            take()
        except OSError as error:
            said, _, advice = explain(error.errno or 0, error.strerror or "", step).partition("\n")
            reason, _, fix = advice.removesuffix("\n").partition("; type:\n")
            fix = fix.strip().removeprefix("sudo ")
            shown = "; ".join(filter(None, (said.removeprefix("there can be no lab here: "), reason)))
            raise Missing(shown, fix if fix.startswith("sysctl ") else "") from None
    return "as root" if as_root else "in a user namespace, without root"


def _nftables() -> str:
    from trogdor.claim.model import CannotInject
    from trogdor.claim.place import Place
    from trogdor.platform.linux.nft import Nft, NftError

    try:
        nft = Nft(Place.here())
    except CannotInject as error:
        raise Missing(str(error), "apt-get install -y libnftables1") from None
    try:
        nft.run("add table inet trial { flags owner; }")
        nft.run("add set inet trial cut { type ipv4_addr; flags timeout, interval; }")
        nft.run("add chain inet trial arriving { type filter hook prerouting priority raw; }")
        nft.run("add rule inet trial arriving ip saddr @cut drop")
        nft.run("add element inet trial cut { 192.0.2.1 timeout 10s }")
    except NftError as error:
        raise Missing(str(error), "modprobe nf_tables" if _is_installed("nf_tables") else "") from None
    finally:
        nft.close()
    return "owner tables, timeouts, prerouting raw"


def _run(program: str, *arguments: str) -> str:
    """The first line of what a program said when it failed; empty when it did not."""
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=TRIAL_S, check=False, env=environment
    )
    return (done.stderr.strip().splitlines() or [f"{program} failed"])[0] if done.returncode else ""


def _tc(qdisc: str, module: str) -> str:
    program = _has_program("tc")
    said = _run(program, "qdisc", "add", "dev", "lo", "root", *qdisc.split())
    if said:
        raise Missing(said, f"modprobe {module}" if _is_installed(module) else "")
    _run(program, "qdisc", "del", "dev", "lo", "root")
    return ""


def _is_installed(module: str) -> bool:
    top = Path("/lib/modules") / platform.release()
    return any(f"/{module}.ko" in _text(top / name) for name in ("modules.dep", "modules.builtin"))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _nfqueue() -> str:
    from trogdor.platform.linux.netqueue import Queue

    rule = "-t raw -A PREROUTING -j NFQUEUE --queue-num 7 --queue-bypass"
    said = _run(_has_program("iptables"), *rule.split())
    if said:
        raise Missing(said, "modprobe -a xt_NFQUEUE iptable_raw" if _is_installed("xt_NFQUEUE") else "")
    Queue(7)
    return ""


INSIDE: list[Test] = [
    ("nftables", "partitions", True, _nftables),
    ("tbf", "limited bandwidth", False, lambda: _tc("tbf rate 1mbit burst 32k latency 1s", "sch_tbf")),
    ("htb", "limited bandwidth of some peers", False, lambda: _tc("handle 1: htb", "sch_htb")),
    ("netem", "delay; the packet queue does it too", False, lambda: _tc("netem delay 1ms", "sch_netem")),
    ("packet queue", "delay, loss, damage", False, _nfqueue),
]


def main() -> None:
    """Leaves this machine's namespaces, tries what touches a network, and prints the trials as JSON."""
    tried = list(_try_all([("namespaces", "the lab", True, _namespaces)]))
    if tried[0].works:
        tried += _try_all(INSIDE)
    else:
        tried += [Trial(name, use, needed, False, "not tried: no namespace") for name, use, needed, _ in INSIDE]
    print(json.dumps([asdict(trial) for trial in tried]))


if __name__ == "__main__":
    main()
