"""The command `kibosh`: mounts, and changes the faults of what is mounted."""

from __future__ import annotations

import argparse
import errno
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from kibosh.control import Control, Refused
from kibosh.faults import reference
from kibosh.mount import Mount, MountError, is_mounted, unmount, wait_until_gone

VERBS = ("faults", "set", "clear", "stats", "umount", "lose", "exec")

MOUNT_HELP = """\
Serves DIR at MOUNTPOINT, as it is, until faults are set:

  kibosh /mnt/data --target /var/lib/data       mount, and go to the background
  kibosh set /mnt/data '{"faults":[{"type":"unreadable","prefix":"/wal","code":5}]}'
  kibosh faults /mnt/data                       what is in force
  kibosh stats /mnt/data                        how often each fault has fired
  kibosh clear /mnt/data                        end every fault
  kibosh lose /mnt/data                         lose what is not synced (needs a lose_unsynced fault)
  kibosh umount /mnt/data                       unmount, even when the daemon is dead
  kibosh exec DIR -- CMD …                      run CMD with DIR under Kibosh, then put all back

`kibosh VERB --help` tells more of each. Exit codes: 0 done, 1 refused or failed, 2 wrong usage;
`exec` ends as CMD does."""


SET_HELP = """\
Sets faults: a document {"faults": […]}, a list of faults, or one fault. They replace those in force; what is
refused is told with its path, and changes nothing.

  kibosh set /mnt/data '{"type":"unreadable","prefix":"/wal","code":"EIO","durationMs":5000}'
  kibosh set /mnt/data --owner me '[{"type":"error","operations":["fsync"],"nth":3,"code":"ENOSPC"}]'
  kibosh set /mnt/data @faults.json

docs/kibosh.md tells what each means, and the operations.

"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and arguments[0] in VERBS:
            return _run_verb(arguments)
        return _run_mount(arguments)
    except Refused as refused:
        print("kibosh: refused, nothing has changed:", file=sys.stderr)
        for error in refused.errors:
            print(f"  {error['path'] or 'document'}: {error['message']}", file=sys.stderr)
    except (MountError, OSError, ValueError) as error:
        dead = isinstance(error, OSError) and error.errno == errno.ENOTCONN
        cure = ". The daemon is dead: `kibosh umount` clears its mount" if dead else ""
        print(f"kibosh: {error}{cure}", file=sys.stderr)
    return 1


def _run_verb(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="kibosh")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in (
        ("faults", "Print the faults in force, as JSON."),
        ("clear", "End every fault."),
        ("stats", "Print counts, as JSON."),
        ("umount", "Write back and unmount. Clears a mount whose daemon is dead, too."),
        ("lose", "Lose what was written but not synced since a lose_unsynced fault was set."),
    ):
        verbs.add_parser(verb, help=text, description=text).add_argument("mountpoint")
    setter = verbs.add_parser(
        "set",
        help="Set the faults.",
        description=SET_HELP + reference(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    setter.add_argument("mountpoint")
    setter.add_argument("json", help="JSON, '@FILE', or '-' for standard input")
    setter.add_argument("--owner", help="change only this owner's faults; everybody else's stay")
    text = "Run CMD with DIR under Kibosh; DIR is as before when it ends, however it ends."
    runner = verbs.add_parser("exec", help=text, description=text)
    runner.add_argument("directory")
    runner.add_argument("--faults", help="JSON of the faults to set before CMD starts, or '@FILE'")
    runner.add_argument("--mode", choices=("fast", "coherent"), default="fast")
    runner.usage = "kibosh exec DIR [--faults JSON] [--mode MODE] -- CMD …"
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:end])
    return _exec(options, arguments[end + 1 :]) if options.verb == "exec" else _control(options)


def _control(options: argparse.Namespace) -> int:
    mountpoint = os.path.abspath(options.mountpoint)
    if options.verb == "umount":
        return _umount(mountpoint)
    control = Control(mountpoint)
    if not (control.mountpoint / "kibosh_control").exists():
        print(f"kibosh: {mountpoint} is not a Kibosh mount; see `kibosh --help`", file=sys.stderr)
        return 1
    if options.verb == "faults":
        print(json.dumps(control.read(), indent=2))
    elif options.verb == "stats":
        print(json.dumps(control.stats(), indent=2))
    elif options.verb == "clear":
        control.clear()
    elif options.verb == "lose":
        control.lose_unsynced()
    else:
        document = _document(options.json)
        control.write({**document, "owner": options.owner} if options.owner else document)
    return 0


def _document(text: str) -> dict[str, Any]:
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        text = Path(text[1:]).read_text()
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ValueError(f"the faults are not JSON: {error}") from None
    if isinstance(given, list):
        return {"faults": given}
    if isinstance(given, dict) and "type" in given:
        return {"faults": [given]}
    if not isinstance(given, dict):
        raise ValueError("the faults must be a JSON object or a list")
    return given


def _umount(mountpoint: str) -> int:
    if not is_mounted(mountpoint):
        print(f"kibosh: nothing of Kibosh is mounted at {mountpoint}", file=sys.stderr)
        return 1
    try:
        pid = int(Control(mountpoint).stats()["pid"])
        if b"kibosh" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            raise ValueError("the pid is of another namespace")
        os.kill(pid, signal.SIGTERM)
        if wait_until_gone(mountpoint, pid, timeout_seconds=60):
            return 0
    except (OSError, ValueError, KeyError):
        pass
    unmount(mountpoint)
    return 0


def _exec(options: argparse.Namespace, command: list[str]) -> int:
    if not command:
        print("kibosh exec: which command? kibosh exec DIR -- CMD …", file=sys.stderr)
        return 2
    here = os.getcwd()
    with Mount(options.directory, options.directory, mode=options.mode, allow_other=os.geteuid() == 0) as fs:
        if options.faults:
            fs.write(_document(options.faults))
        # Gone to anew: whoever stands in DIR stands beneath the mount.
        code = _wait_passing_signals(subprocess.Popen(command, cwd=here))
    return code if code >= 0 else 128 - code


def _wait_passing_signals(child: subprocess.Popen[bytes]) -> int:
    """How it ended. What the terminal sends, such as Ctrl-C, it sends to the child itself, once."""
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    while (code := child.poll()) is None:
        received = signal.sigwaitinfo(signals)
        if received.si_signo != signal.SIGCHLD and received.si_code <= 0:
            child.send_signal(received.si_signo)
    return code


def _mount_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kibosh",
        usage="kibosh MOUNTPOINT --target DIR [options]\n       kibosh MOUNTPOINT DIR [options]",
        description=MOUNT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("mountpoint", metavar="MOUNTPOINT")
    parser.add_argument("directory", metavar="DIR", nargs="?", help="the directory to serve")
    parser.add_argument("-t", "--target", metavar="DIR", help="the same")
    parser.add_argument("-f", "--foreground", action="store_true", help="stay in the foreground")
    parser.add_argument(
        "-m", "--mode", choices=("fast", "coherent"), default="fast",
        help="fast (default): only the mount changes DIR; coherent: changes in DIR are seen within a second",
    )  # fmt: skip
    parser.add_argument("-a", "--allow-other", action="store_true", help="let other users in")
    parser.add_argument("-l", "--log", metavar="FILE", help="append the log to FILE")
    parser.add_argument("-P", "--pidfile", metavar="FILE", help="keep the daemon's pid in FILE")
    parser.add_argument(
        "-c", "--control-mode", metavar="OCTAL", default="0600", help="of kibosh_control (0600)"
    )
    parser.add_argument("-r", "--random-seed", metavar="N", type=int, help="makes random choices repeatable")
    parser.add_argument("-v", "--verbose", action="store_true", help="log every request")
    parser.add_argument("-d", "--debug", action="store_true", help="the same, in the foreground")
    parser.add_argument("-s", action="store_true", dest="single", help="accepted for FUSE's sake")
    parser.add_argument(
        "-o", metavar="OPTION,…", action="append", default=[], help="mount options, as mount(8)"
    )
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--owner-fd", type=int, help=argparse.SUPPRESS)
    return parser


def _run_mount(arguments: list[str]) -> int:
    parser = _mount_parser()
    options = parser.parse_args(arguments)
    if (options.target is None) == (options.directory is None):
        parser.error("which directory? kibosh MOUNTPOINT --target DIR")
    try:
        control_mode = int(options.control_mode, 8)
    except ValueError:
        parser.error(f"--control-mode is octal, such as 0600, not {options.control_mode!r}")
    for name in ("mountpoint", "target", "directory", "log", "pidfile"):
        if getattr(options, name):
            setattr(options, name, os.path.abspath(getattr(options, name)))
    options.target = options.target or options.directory
    for directory in (options.mountpoint, options.target):
        if not os.path.isdir(directory):
            return _fail(options.ready_fd, f"{directory} is not a directory")
    options.foreground = options.foreground or options.debug
    if not options.foreground:
        options.ready_fd = _daemonize()
    if options.owner_fd is not None:
        _end_with_owner(options.owner_fd)
    return _serve(options, control_mode)


def _end_with_owner(lives: int) -> None:
    """SIGTERM to ourselves once nobody holds the other end of a pipe: whoever mounted has ended, somehow."""

    def wait() -> None:
        os.read(lives, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    # As the native threads do: the signal is for the one that waits for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    threading.Thread(target=wait, name="owner", daemon=True).start()


def _serve(options: argparse.Namespace, control_mode: int) -> int:
    try:
        from kibosh import _native
    except ImportError as error:
        cure = "install a wheel of kibosh, or build it in its source tree with `make -C kibosh build`"
        return _fail(options.ready_fd, f"the compiled part cannot be loaded ({error}): {cure}")
    waiting = options.ready_fd
    try:
        if options.pidfile:
            Path(options.pidfile).write_text(f"{os.getpid()}\n")
        _native.serve(
            options.target,
            options.mountpoint,
            coherent=options.mode == "coherent",
            allow_other=options.allow_other,
            options=[option for group in options.o for option in group.split(",") if option],
            control_mode=control_mode,
            seed=secrets.randbits(63) if options.random_seed is None else options.random_seed % 2**63,
            log=options.log or (None if options.foreground else os.devnull),
            verbose=options.verbose or options.debug,
            ready_fd=os.open(os.devnull, os.O_WRONLY) if waiting is None else os.dup(waiting),
        )
    except OSError as error:
        return _fail(waiting, str(error))
    finally:
        if options.pidfile:
            Path(options.pidfile).unlink(missing_ok=True)
    return 0


def _fail(waiting: int | None, message: str) -> int:
    """Tells whoever waits for the mount why there is none."""
    if waiting is None:
        print(f"kibosh: {message}", file=sys.stderr)
    else:
        os.write(waiting, message.encode())
    return 1


def _daemonize() -> int:
    """Forks. The parent waits until the mount can be used, and ends; the child gets where to say so."""
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        _end_as_told(reader)
    os.close(reader)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    os.chdir("/")
    return writer


def _end_as_told(reader: int) -> NoReturn:
    told = os.read(reader, 4096)
    if told != b".":
        print(f"kibosh: {told.decode(errors='replace') or 'the daemon died'}", file=sys.stderr)
    os._exit(0 if told == b"." else 1)
