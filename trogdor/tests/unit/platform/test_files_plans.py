"""The plans of faults of files, and the control file's fold: ours and the original's (a file stands for the mount)."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from trogdor.claim.model import CannotInject, Claim, Term
from trogdor.claim.place import Place
from trogdor.platform.base import Plan, Scene
from trogdor.platform.linux import PLATFORM
from trogdor.platform.linux.files import Mount
from trogdor.platform.linux.kibosh import Kibosh, OriginalKibosh, is_ours
from trogdor.probe.expect import CallFails, CallSlow, DataDamaged, Expectation, ReadFails, RoomLeft
from trogdor.spec import SpecError, parse
from trogdor.topology import topology_of

TERM = Term("task-7", 7, 1_000, 2_000)
CLUSTER = topology_of({"nodes": {"n1": {"hostname": "10.0.0.1", "trogdor.agent.port": "8888"}}})


OURS = Mount(True, "/data/wal/0", "/data/wal")


def plan(name: str, mount: Mount = OURS, **fields: Any) -> Plan:
    spec = parse({"class": name, "nodeNames": ["n1"], "mountPath": "/data", **fields})
    spec.check(CLUSTER)
    return PLATFORM.faults[type(spec)].plan(spec, Scene(CLUSTER.nodes["n1"], CLUSTER, Place()), mount, TERM)


def test_upstreams_fault_is_the_originals_json_and_read_by_the_probe() -> None:
    planned = plan("FilesUnreadableFaultSpec", prefix="wal", errorCode=5)
    assert planned.claims[0].want == {"type": "unreadable", "prefix": "/wal", "suffix": "", "code": 5}
    assert planned.claims[0].kind == "kibosh"
    assert planned.expect == [ReadFails("/data/wal/0", 5)]


def test_the_original_is_a_kind_of_its_own() -> None:
    assert plan("FilesUnreadableFaultSpec", Mount(False, ""), errorCode=5).claims[0].kind == "kibosh-c"


@pytest.mark.parametrize(
    ("name", "fields", "want", "expect"),
    [
        (
            "FilesFailFaultSpec",
            {"operations": ["rename", "fsync"]},
            {"type": "error", "operations": ["rename", "fsync"], "code": "EIO"},
            CallFails("/data/wal", "fsync", errno.EIO),
        ),
        (
            "FilesUnwritableFaultSpec",
            {"error": "EROFS"},
            {"type": "unwritable", "code": "EROFS"},
            CallFails("/data/wal", "write", errno.EROFS),
        ),
        (
            "SlowFilesFaultSpec",
            {"delayMs": 50, "jitterMs": 10, "distribution": "uniform", "operations": ["write"]},
            {"type": "delay", "operations": ["write"], "delay_ms": 50},
            CallSlow("/data/wal", "write", 40),
        ),
        (
            "CorruptFilesFaultSpec",
            {"how": "torn", "unit": 4000},
            {"type": "torn_write", "unit": 4000},
            DataDamaged("/data/wal", 8000),
        ),
        (
            "CorruptFilesFaultSpec",
            {"how": "writeDrop"},
            {"type": "write_corrupt", "mode": 1200},
            DataDamaged("/data/wal", 4096),
        ),
        ("DiskFullFaultSpec", {"afterBytes": 9}, {"type": "disk_full", "bytes": 9}, RoomLeft("/data/wal", 9)),
    ],
)
def test_each_spec_is_one_fault_of_kiboshs_that_is_probed_by_a_file_without_a_name(
    name: str, fields: dict[str, Any], want: dict[str, Any], expect: Expectation
) -> None:
    planned = plan(name, **fields)
    (claim,) = planned.claims
    assert claim.want.items() >= want.items()
    assert (planned.expect, planned.unverified) == ([expect], "")


@pytest.mark.parametrize(
    ("name", "fields", "why"),
    [
        ("FilesFailFaultSpec", {"operations": ["rename"]}, "a probe would have to use the system's files"),
        ("FilesUnwritableFaultSpec", {"nth": 3}, "only some calls meet it, and a probe must not use them up"),
        ("SlowFilesFaultSpec", {"bytesPerSec": 9}, "a probe would have to use the system's files"),
        (
            "SlowFilesFaultSpec",
            {"delayMs": 9, "distribution": "pareto"},
            "a probe would have to use the system's files",
        ),
        ("LoseUnsyncedWritesFaultSpec", {}, "a probe would have to use the system's files"),
    ],
)
def test_what_a_probe_cannot_tell_is_unverified(name: str, fields: dict[str, Any], why: str) -> None:
    planned = plan(name, **fields)
    assert len(planned.claims) == 1
    assert (list(planned.expect), planned.unverified) == ([], why)


def test_where_there_is_nothing_to_look_at_the_fault_is_unverified() -> None:
    planned = plan("FilesUnwritableFaultSpec", Mount(True, ""))
    assert (list(planned.expect), planned.unverified) == ([], "no file is there yet that the probe could use")


def test_of_a_delay_with_a_bandwidth_the_delay_is_probed() -> None:
    planned = plan("SlowFilesFaultSpec", delayMs=50, bytesPerSec=9)
    assert len(planned.claims) == 2
    assert planned.expect == [CallSlow("/data/wal", "read", 50)]
    assert planned.notes == ["not probed: the bandwidth"]


@pytest.mark.parametrize(
    ("prefix", "found"),
    [("/", "."), ("/wal", "wal"), ("/w", "wal"), ("/wal/", "wal"), ("/wal/0", ""), ("/nothing/there", "")],
)
def test_the_probe_uses_a_directory_the_fault_is_about(tmp_path: Path, prefix: str, found: str) -> None:
    (tmp_path / "kibosh_control").touch()
    (tmp_path / "kibosh_stats").touch()
    (tmp_path / "wal").mkdir()
    (tmp_path / "wal" / "0").write_text("x")
    files = {"mountPath": str(tmp_path), "prefix": prefix}
    spec = parse({"class": "FilesUnwritableFaultSpec", "nodeNames": ["n1"], **files})
    mount = PLATFORM.faults[type(spec)].facts(spec, Scene(CLUSTER.nodes["n1"], CLUSTER, Place()))
    assert mount.directory == (str(tmp_path / found) if found else "")


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("FilesUnreadableFaultSpec", {"errorCode": 0}),
        ("SlowFilesFaultSpec", {}),
    ],
)
def test_a_spec_that_asks_for_nothing_is_refused(name: str, fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        plan(name, **fields)


def original(mount: Path, *faults: Any) -> Path:
    (mount / "kibosh_control").write_text(json.dumps({"faults": list(faults)}))
    return mount


def test_the_originals_list_gets_our_fault_behind_others_and_loses_only_ours(tmp_path: Path) -> None:
    theirs = {"type": "unreadable", "prefix": "/theirs", "suffix": "", "code": 5}
    mount = str(original(tmp_path, theirs))
    assert not is_ours(mount)
    resource = OriginalKibosh(Place.here(), "n1")
    base = resource.base(mount)
    claims = [
        Claim(f"{number}/x", "kibosh-c", mount, {**theirs, "prefix": prefix}, TERM)
        for number, prefix in ((1, "/a"), (2, "/b"))
    ]
    resource.prepare(claims)
    for held in (claims, claims[1:], []):
        assert resource.apply(held, {mount: base}, 0) == {}
        assert resource.observe(mount) == resource.fold(base, [claim.want for claim in held])
    assert resource.observe(mount) == [theirs]


def test_what_somebody_else_has_done_to_the_originals_list_stays(tmp_path: Path) -> None:
    mount = str(original(tmp_path))
    resource = OriginalKibosh(Place.here(), "n1")
    claim = Claim("1/x", "kibosh-c", mount, {"type": "unreadable", "prefix": "/a"}, TERM)
    resource.apply([claim], {mount: []}, 0)
    original(tmp_path, theirs := {"type": "unreadable", "prefix": "/theirs"})
    assert resource.apply([], {mount: []}, 0)[mount].what == "changed"
    assert resource.observe(mount) == [theirs]


def test_a_list_that_cannot_be_read_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "kibosh_control").write_text("{")
    mount = str(tmp_path)
    resource = OriginalKibosh(Place.here(), "n1")
    claim = Claim("1/x", "kibosh-c", mount, {"type": "unreadable"}, TERM)
    with pytest.raises(CannotInject, match="cannot be read"):
        resource.prepare([claim])
    assert resource.apply([claim], {mount: resource.base(mount)}, 0)[mount].what == "failed"
    assert (tmp_path / "kibosh_control").read_text() == "{"


@pytest.mark.parametrize(("code", "what"), [(errno.ENOTCONN, "gone"), (errno.ENOENT, "gone"), (errno.EMFILE, "failed")])
def test_only_a_mount_that_is_gone_took_its_faults_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, what: str
) -> None:
    def fails(*_: Any) -> str:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("trogdor.platform.linux.kibosh.write_document", fails)
    assert Kibosh(Place.here(), "n1").apply([], {str(tmp_path): None}, 0)[str(tmp_path)].what == what


def test_the_original_takes_what_it_knows_of_our_own_specs(tmp_path: Path) -> None:
    (claim,) = plan("FilesUnwritableFaultSpec", Mount(False, "")).claims
    OriginalKibosh(Place.here(), "n1").prepare([Claim("1/x", "kibosh-c", str(original(tmp_path)), claim.want, TERM)])


def test_the_original_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    mount = str(original(tmp_path))
    claim = Claim("1/x", "kibosh-c", mount, {"type": "bit_flip", "glob": "*"}, TERM)
    with pytest.raises(CannotInject, match="which knows no glob"):
        OriginalKibosh(Place.here(), "n1").prepare([claim])


def test_a_place_without_kibosh_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotInject, match="Can't find file"):
        is_ours(str(tmp_path))
