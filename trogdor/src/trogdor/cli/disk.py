"""``trogdor disk``: makes a disk fail, slow, full or forgetful, where Kibosh is mounted."""

import errno
import posixpath
from typing import Annotated, Any

import typer

from trogdor.cli import options
from trogdor.cli.duration import parse_delay_ms
from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.quantity import parse_bytes, parse_bytes_per_sec
from trogdor.cli.verb import verb

UNREADABLE = "org.apache.kafka.trogdor.fault.FilesUnreadableFaultSpec"
FAIL = "trogdor.fault.FilesFailFaultSpec"
UNWRITABLE = "trogdor.fault.FilesUnwritableFaultSpec"
SLOW = "trogdor.fault.SlowFilesFaultSpec"
CORRUPT = "trogdor.fault.CorruptFilesFaultSpec"
FULL = "trogdor.fault.DiskFullFaultSpec"
LOSE = "trogdor.fault.LoseUnsyncedWritesFaultSpec"

KINDS = (
    "--fail OPERATIONS", "--unreadable", "--unwritable", "--slow TIME", "--bandwidth SIZE/s", "--full-after SIZE",
    "--corrupt HOW", "--lose-unsynced",
)  # fmt: skip
GOES_WITH = {"--errno": ("--fail", "--unreadable", "--unwritable"), "--on": ("--slow",)}


@verb("disk")
def command(
    *,
    places: Annotated[
        list[str],
        typer.Argument(metavar="NODE:/PATH…", help="Where Kibosh is mounted: the same path on each of the nodes."),
    ],
    fail: Annotated[
        str | None, typer.Option(metavar="OPERATIONS", help="These fail: open, read, write, fsync, rename, …")
    ] = None,
    unreadable: Annotated[bool, typer.Option("--unreadable", help="Reads fail.")] = False,
    unwritable: Annotated[bool, typer.Option("--unwritable", help="Writes fail.")] = False,
    error: Annotated[str | None, typer.Option("--errno", metavar="NAME", help="With that error; EIO if unset.")] = None,
    slow: Annotated[str | None, typer.Option(metavar="TIME", help="Operations take so much longer: 50ms.")] = None,
    on: Annotated[str | None, typer.Option(metavar="OPERATIONS", help="Which are slow; read,write if unset.")] = None,
    bandwidth: Annotated[
        str | None, typer.Option(metavar="SIZE/s", help="Reads and writes together get no more: 1MB/s.")
    ] = None,
    full_after: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The disk is full once files have grown by so much: 10MB.")
    ] = None,
    corrupt: Annotated[
        str | None,
        typer.Option(
            metavar="HOW", help="bitFlip, readZero, readRandom, writeZero, writeRandom, writeDrop or torn (writes)."
        ),
    ] = None,
    lose_unsynced: Annotated[
        bool, typer.Option("--lose-unsynced", help="At the end, what was not synced is lost, as by a power cut.")
    ] = False,
    prefix: Annotated[str | None, typer.Option(metavar="/PATH", help="Only files whose path below starts so.")] = None,
    suffix: Annotated[str | None, typer.Option(metavar="TEXT", help="Only files whose path ends so.")] = None,
    glob: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Only paths that match; ** crosses directories.")
    ] = None,
    fraction: Annotated[
        float | None,
        typer.Option(metavar="0…1", help="The chance of each call, block (bitFlip) or file (--lose-unsynced)."),
    ] = None,
    nth: Annotated[int | None, typer.Option(metavar="N", help="At the N-th call, and at --count of them.")] = None,
    count: Annotated[int | None, typer.Option(metavar="N", help="At so many calls; all, or one with --nth.")] = None,
    seed: options.Seed = None,
) -> dict[str, Any]:
    """Makes a disk fail, slow, full or forgetful: one kind of fault, on every file below a Kibosh mount or on some.

    trogdor disk n1:/data --fail fsync --errno EIO --for 10s

    trogdor disk n1:/data n2:/data --slow 50ms --on fsync,write --prefix /wal

    trogdor disk n1:/data --full-after 10MB

    trogdor disk n1:/data --corrupt bitFlip --fraction 0.01 --glob '**/*.log'

    `kibosh /data --target DIR` mounts one. SIZE: 1kB is 1000 bytes, 1KiB is 1024.
    """
    kinds = {
        "--fail": fail, "--unreadable": unreadable, "--unwritable": unwritable, "--slow": slow,
        "--bandwidth": bandwidth, "--full-after": full_after, "--corrupt": corrupt, "--lose-unsynced": lose_unsynced,
    }  # fmt: skip
    kind = the_one(kinds, {"--errno": error, "--on": on})
    values = options.read(
        {
            "--slow": (slow, parse_delay_ms),
            "--bandwidth": (bandwidth, parse_bytes_per_sec),
            "--full-after": (full_after, parse_bytes),
            "--errno": (error, parse_errno),
        }
    )
    which = {
        "prefix": prefix, "suffix": suffix, "glob": glob, "fraction": fraction, "count": count, "nth": nth,
        "seed": seed,
    }  # fmt: skip
    selection = {field: value for field, value in which.items() if value is not None}
    return spec_of(kind, {**kinds, "--on": on, **values}, places_of(places), selection)


def the_one(kinds: dict[str, Any], others: dict[str, Any]) -> str:
    """The one kind of fault that is asked for. Raises Failure for none, several, and for options of other kinds."""
    given = [option for option, value in kinds.items() if value not in (None, False)]
    if len(given) != 1:
        several = f"{', '.join(given)}: one fault a command, and they overlap freely; " if given else ""
        raise Failure(ExitCode.BAD_USAGE, f"{several}say what the disk does, with one of {', '.join(KINDS)}")
    for option, needed in GOES_WITH.items():
        if others[option] is not None and given[0] not in needed:
            raise Failure(ExitCode.BAD_USAGE, f"{option} goes with {' or '.join(needed)}, not with {given[0]}")
    return given[0]


def places_of(places: list[str]) -> dict[str, Any]:
    """The nodes and the one path of ``n1:/data n2:/data``. Raises Failure."""
    pairs = [place.partition(":") for place in places]
    bad = [place for place, (node, _, path) in zip(places, pairs, strict=True) if not node or not path.startswith("/")]
    if bad:
        raise Failure(ExitCode.BAD_USAGE, f"{', '.join(bad)}: NODE:/PATH is wanted, such as n1:/data")
    paths = sorted({posixpath.normpath(path) for _, _, path in pairs})
    if len(paths) > 1:
        raise Failure(ExitCode.BAD_USAGE, f"{', '.join(paths)}: one path a command; give each its own")
    return {"nodeNames": list(dict.fromkeys(node for node, _, _ in pairs)), "mountPath": paths[0]}


def parse_errno(text: str) -> str:
    """The name of an error. Raises ValueError that says what is wanted."""
    if text not in errno.errorcode.values():
        raise ValueError(f"{text!r} is no error's name: write EIO, ENOSPC, EROFS, …")
    return text


def spec_of(kind: str, given: dict[str, Any], where: dict[str, Any], selection: dict[str, Any]) -> dict[str, Any]:
    """The spec of one kind of fault: upstream's where it can say it. Raises Failure with every problem."""
    error = given.get("--errno", "EIO")
    if kind == "--unreadable" and not selection.keys() - {"prefix"}:
        return {"class": UNREADABLE, **where, **selection, "errorCode": getattr(errno, error)}
    some = {"operations": _words(given["--on"])} if given["--on"] else {}
    fields: dict[str, dict[str, Any]] = {
        "--fail": {"class": FAIL, "operations": _words(given["--fail"]), "error": error},
        "--unreadable": {"class": FAIL, "operations": ["read"], "error": error},
        "--unwritable": {"class": UNWRITABLE, "error": error},
        "--slow": {"class": SLOW, **some, "delayMs": given["--slow"]},
        "--bandwidth": {"class": SLOW, "bytesPerSec": given["--bandwidth"]},
        "--full-after": {"class": FULL, "afterBytes": given["--full-after"]},
        "--corrupt": {"class": CORRUPT, "how": given["--corrupt"]},
        "--lose-unsynced": {"class": LOSE},
    }
    spec = {"class": fields[kind]["class"], **where, **fields[kind], **selection}
    named = {field: f"--{field}" for field in ("prefix", "suffix", "glob", "fraction", "count", "nth", "seed")}
    named |= {"operations": "--on" if kind == "--slow" else "--fail", "delayMs": "--slow", "how": "--corrupt"}
    options.refuse_invalid(spec, named)
    return spec


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",")]
