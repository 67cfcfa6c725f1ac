"""Faults of files through coordinator, agent and a real Kibosh on a lab node, felt by real programs there."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.waiting import forget_all, wait_until
from trogdor.client import Client, Task
from trogdor.lab import Lab

kibosh = pytest.importorskip("kibosh", reason="Kibosh is not built: make -C kibosh build")

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("files")]

MOUNT = "/mnt/data"
DEADLINE_S = 60.0
FSYNC = """
import os, sys
written = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.write(written, b"x")
os.fsync(written)
os.fsync(os.open(os.path.dirname(sys.argv[1]), os.O_RDONLY))
"""


@pytest.fixture(scope="module")
def files_lab() -> Iterator[Lab]:
    with Lab(nodes=1) as lab:
        node = lab.nodes["n1"]
        node.exec(["mkdir", "-p", MOUNT, "/mnt/target/wal"], check=True)
        node.exec(["sh", "-c", "echo hello > /mnt/target/wal/000"], check=True)
        path = {"PYTHONPATH": str(Path(kibosh.__file__).parents[1])}
        mounted = node.popen(
            [sys.executable, "-m", "kibosh", MOUNT, "--target", "/mnt/target", "-f"], log="kibosh", env=path
        )
        wait_until(lambda: node.exec(["test", "-e", f"{MOUNT}/kibosh_control"]).returncode == 0, DEADLINE_S)
        lab.start_daemons()
        yield lab
        mounted.terminate()
        mounted.wait(30)


@pytest.fixture
def client(files_lab: Lab) -> Iterator[Client]:
    with files_lab.client() as client:
        yield client
        forget_all(client)


def until(client: Client, task_id: str, holds: Callable[[Any], bool]) -> Task:
    wait_until(lambda: holds(client.task(task_id)), DEADLINE_S)
    return client.task(task_id)


def done(task: Any) -> bool:
    return bool(task["state"] == "DONE")


def verdict(task: Any) -> str:
    status = task.get("status")
    return str(status["verdict"]) if isinstance(status, dict) else "armed"


def spec(name: str, **fields: Any) -> dict[str, Any]:
    return {"class": name, "startMs": 0, "durationMs": 120_000, "nodeNames": ["n1"], "mountPath": MOUNT, **fields}


def cat(lab: Lab) -> Any:
    return lab.nodes["n1"].exec(["cat", f"{MOUNT}/wal/000"], text=True)


def test_who_uses_the_target_past_the_mount_is_noted(client: Client, files_lab: Lab) -> None:
    past = files_lab.nodes["n1"].popen(["tail", "-f", "/mnt/target/wal/000"], log="past")
    try:
        stats = ["cat", f"{MOUNT}/kibosh_stats"]
        wait_until(lambda: '"tail"' in files_lab.nodes["n1"].exec(stats, text=True).stdout, DEADLINE_S)
        client.create_task("noted", spec("FilesUnwritableFaultSpec", prefix="/wal"))
        task: Any = until(client, "noted", lambda task: verdict(task) != "armed")
        assert any("tail" in note and "past the mount" in note for note in task["status"]["notes"]), task
        client.stop_task("noted")
        until(client, "noted", done)
    finally:
        past.terminate()
        past.wait(30)


def test_upstreams_fault_makes_a_file_unreadable_and_readable_again(client: Client, files_lab: Lab) -> None:
    client.create_task("unreadable", spec("FilesUnreadableFaultSpec", prefix="/wal", errorCode=5))
    task: Any = until(client, "unreadable", lambda task: verdict(task) != "armed")
    assert verdict(task) == "seen", task
    assert "Input/output error" in cat(files_lab).stderr
    client.stop_task("unreadable")
    task = until(client, "unreadable", done)
    assert not task.get("error")
    assert task["status"]["undoneBy"] == "stop"
    assert cat(files_lab).stdout == "hello\n"


def test_any_operation_can_fail_with_any_error(client: Client, files_lab: Lab) -> None:
    client.create_task("fsync", spec("FilesFailFaultSpec", operations=["fsync"], error="ENOSPC"))
    until(client, "fsync", lambda task: verdict(task) == "seen")
    failed = files_lab.nodes["n1"].exec([sys.executable, "-c", FSYNC, f"{MOUNT}/new"], text=True)
    assert "No space left on device" in failed.stderr
    client.stop_task("fsync")
    until(client, "fsync", done)
    files_lab.nodes["n1"].exec([sys.executable, "-c", FSYNC, f"{MOUNT}/new"], check=True)


AHEAD_MS = 500
"""So long the probe has, also on a busy machine, to see how it is without the fault."""

PROBED = {
    "fails": ("FilesFailFaultSpec", {"operations": ["write", "fsync"], "error": "EIO"}),
    "unwritable": ("FilesUnwritableFaultSpec", {"error": "EROFS", "prefix": "/wal"}),
    "slow": ("SlowFilesFaultSpec", {"operations": ["fsync"], "delayMs": 2000}),
    "zeros": ("CorruptFilesFaultSpec", {"how": "writeZero"}),
    "dropped": ("CorruptFilesFaultSpec", {"how": "writeDrop"}),
    "torn": ("CorruptFilesFaultSpec", {"how": "torn"}),
    "flipped": ("CorruptFilesFaultSpec", {"how": "bitFlip"}),
    "read as zeros": ("CorruptFilesFaultSpec", {"how": "readZero", "prefix": "/wal"}),
    "full": ("DiskFullFaultSpec", {}),
}


@pytest.mark.parametrize("fault", PROBED)
def test_a_fault_of_files_is_seen_by_a_file_without_a_name_and_seen_to_end(client: Client, fault: str) -> None:
    name, fields = PROBED[fault]
    ahead = {"startMs": time.time_ns() // 1_000_000 + AHEAD_MS}
    client.create_task(fault, spec(name, **fields) | ahead)
    task: Any = until(client, fault, lambda task: verdict(task) != "armed")
    assert verdict(task) == "seen", task
    client.stop_task(fault)
    task = until(client, fault, done)
    assert not task.get("error"), task
    assert task["status"]["seenEndMs"] >= task["status"]["seenStartMs"]


@pytest.mark.parametrize("fault", PROBED)
def test_a_fault_of_files_that_somebody_clears_is_found_out(client: Client, files_lab: Lab, fault: str) -> None:
    name, fields = PROBED[fault]
    client.create_task(fault, spec(name, **fields))
    until(client, fault, lambda task: verdict(task) == "seen")
    files_lab.nodes["n1"].exec(["sh", "-c", f"echo '{{\"faults\":[]}}' > {MOUNT}/kibosh_control"], check=True)
    task = until(client, fault, done)
    assert str(task.get("error")).startswith("n1: not seen: "), task


def test_a_fault_of_somebody_else_on_the_mount_stays(client: Client, files_lab: Lab) -> None:
    control = files_lab.nodes["n1"].path(f"{MOUNT}/kibosh_control")
    theirs = '{"type":"unwritable","prefix":"/other","suffix":"","code":30}'
    files_lab.nodes["n1"].exec(["sh", "-c", f"echo '{{\"faults\":[{theirs}]}}' > {MOUNT}/kibosh_control"], check=True)
    try:
        client.create_task("beside", spec("FilesUnreadableFaultSpec", prefix="/wal", errorCode=5))
        until(client, "beside", lambda task: verdict(task) == "seen")
        client.stop_task("beside")
        until(client, "beside", done)
        held = files_lab.nodes["n1"].exec(["cat", f"{MOUNT}/kibosh_control"], text=True).stdout
        assert [fault["prefix"] for fault in json.loads(held)["faults"]] == ["/other"], control
    finally:
        files_lab.nodes["n1"].exec(["sh", "-c", f"echo '{{\"faults\":[]}}' > {MOUNT}/kibosh_control"], check=True)


def test_a_fault_that_somebody_clears_is_an_error(client: Client, files_lab: Lab) -> None:
    client.create_task("cleared", spec("FilesUnreadableFaultSpec", prefix="/wal", errorCode=5))
    until(client, "cleared", lambda task: verdict(task) == "seen")
    files_lab.nodes["n1"].exec(["sh", "-c", f"echo '{{\"faults\":[]}}' > {MOUNT}/kibosh_control"], check=True)
    task = until(client, "cleared", done)
    assert "reading it gives its first byte, not EIO" in str(task.get("error"))


def test_where_no_kibosh_is_mounted_the_fault_is_refused_with_the_reason(client: Client) -> None:
    client.create_task("nowhere", spec("FilesUnreadableFaultSpec", errorCode=5) | {"mountPath": "/mnt/nowhere"})
    task = until(client, "nowhere", done)
    assert "Can't find file /mnt/nowhere/kibosh_control" in str(task.get("error"))


def test_unsynced_writes_are_lost_at_the_end_and_synced_ones_are_not(client: Client, files_lab: Lab) -> None:
    node = files_lab.nodes["n1"]
    client.create_task("power", spec("LoseUnsyncedWritesFaultSpec", prefix="/wal") | {"durationMs": 4000})
    until(client, "power", lambda task: verdict(task).startswith("unverified"))
    node.exec([sys.executable, "-c", FSYNC, f"{MOUNT}/wal/synced"], check=True)
    node.exec(["sh", "-c", f"echo gone > {MOUNT}/wal/unsynced"], check=True)
    until(client, "power", done)
    wait_until(lambda: "unsynced" not in node.exec(["ls", f"{MOUNT}/wal"], text=True).stdout, DEADLINE_S)
    assert node.exec(["cat", f"{MOUNT}/wal/synced"], text=True).stdout == "x"
