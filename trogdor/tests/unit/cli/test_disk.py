"""``trogdor disk``: the spec of each kind of fault, and what it refuses."""

import json
from typing import Any

import pytest

from trogdor.spec import parse
from unit.cli.support import Run

OURS = "trogdor.fault."


def printed(run: Run, *args: str) -> dict[str, Any]:
    """The spec without what all of them share."""
    done = run("disk", "n1:/data", *args, "--for", "1s", "--print")
    assert done.code == 0, done.err
    spec: dict[str, Any] = json.loads(done.out)
    parse(spec)
    shared = {"startMs": 0, "durationMs": 1000, "nodeNames": ["n1"], "mountPath": "/data"}
    assert {field: spec.pop(field) for field in shared} == shared
    return spec


@pytest.mark.parametrize(
    ("args", "spec"),
    [
        (
            ["--fail", "fsync,write", "--errno", "ENOSPC"],
            {"class": "FilesFailFaultSpec", "operations": ["fsync", "write"], "error": "ENOSPC"},
        ),
        (["--unwritable"], {"class": "FilesUnwritableFaultSpec", "error": "EIO"}),
        (["--slow", "0.5ms"], {"class": "SlowFilesFaultSpec", "delayMs": 0.5}),
        (["--slow", "50ms", "--on", "fsync"], {"class": "SlowFilesFaultSpec", "operations": ["fsync"], "delayMs": 50}),
        (["--bandwidth", "1MB/s"], {"class": "SlowFilesFaultSpec", "bytesPerSec": 1_000_000}),
        (["--full-after", "10MiB"], {"class": "DiskFullFaultSpec", "afterBytes": 10 << 20}),
        (["--full-after", "0"], {"class": "DiskFullFaultSpec", "afterBytes": 0}),
        (["--corrupt", "torn"], {"class": "CorruptFilesFaultSpec", "how": "torn"}),
        (["--lose-unsynced"], {"class": "LoseUnsyncedWritesFaultSpec"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_spec_of_each_kind(run: Run, args: list[str], spec: dict[str, Any]) -> None:
    assert printed(run, *args) == {**spec, "class": OURS + spec["class"]}


def test_unreadable_is_upstreams_where_it_can_say_it(run: Run) -> None:
    upstreams = {"class": "org.apache.kafka.trogdor.fault.FilesUnreadableFaultSpec", "prefix": "/wal", "errorCode": 13}
    assert printed(run, "--unreadable", "--errno", "EACCES", "--prefix", "/wal") == upstreams
    ours = {"class": OURS + "FilesFailFaultSpec", "operations": ["read"], "error": "EIO", "suffix": ".log"}
    assert printed(run, "--unreadable", "--suffix", ".log") == ours


def test_which_files_and_how_often(run: Run) -> None:
    spec = printed(
        run, "--unwritable", "--prefix", "/wal", "--suffix", ".log", "--glob", "**/*", "--fraction", "0.1",
        "--count", "2", "--nth", "3", "--seed", "9",
    )  # fmt: skip
    selection = {"prefix": "/wal", "suffix": ".log", "glob": "**/*", "fraction": 0.1, "count": 2, "nth": 3, "seed": 9}
    assert selection.items() <= spec.items()


def test_the_same_path_on_several_nodes(run: Run) -> None:
    done = run("disk", "n1:/data", "n2:/data/", "n1:/data", "--unwritable", "--print")
    spec = json.loads(done.out)
    assert (spec["nodeNames"], spec["mountPath"]) == (["n1", "n2"], "/data")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["n1:/data"], "one of --fail OPERATIONS, --unreadable"),
        (["--unreadable"], "Missing argument"),
        (["n1:/data", "--unreadable", "--unwritable"], "--unreadable, --unwritable: one fault a command"),
        (["n1:/data", "--slow", "1ms", "--full-after", "0"], "--slow, --full-after: one fault"),
        (["n1", ":/data", "n1:data", "--unreadable"], "n1, :/data, n1:data: NODE:/PATH is wanted"),
        (["n1:/a", "n2:/b", "--unreadable"], "/a, /b: one path a command"),
        (["n1:/data", "--fail", "fsyncc", "--prefix", "wal"], "\n  --fail: 'fsyncc' is no operation: close, create"),
        (["n1:/data", "--fail", "", "--errno", "EIO"], "--fail: '' is no operation"),
        (["n1:/data", "--slow", "1ms", "--on", "x"], "--on: 'x' is no operation"),
        (["n1:/data", "--fail", "read", "--errno", "EFOO"], "--errno: 'EFOO' is no error's name: write EIO"),
        (["n1:/data", "--slow", "1ms", "--errno", "EIO"], "--errno goes with --fail"),
        (["n1:/data", "--fail", "read", "--on", "write"], "--on goes with --slow"),
        (["n1:/data", "--slow", "50"], "--slow: '50' is no duration"),
        (["n1:/data", "--bandwidth", "1MB"], "--bandwidth: '1MB' is no bandwidth: write 64kB/s"),
        (["n1:/data", "--bandwidth", "0MB/s"], "--bandwidth: "),
        (["n1:/data", "--full-after", "10 apples"], "--full-after: '10 apples' is no size"),
        (["n1:/data", "--corrupt", "flip"], "--corrupt: wanted is 'bitFlip'"),
        (["n1:/data", "--unwritable", "--fraction", "2"], "--fraction: "),
        (["n1:/data", "--unwritable", "--nth", "0"], "--nth: "),
        (["n1:/data", "--unwritable", "--detach"], "--detach needs --for"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_exit_2_and_says_what_is_wanted(run: Run, args: list[str], said: str) -> None:
    done = run("disk", *args)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
