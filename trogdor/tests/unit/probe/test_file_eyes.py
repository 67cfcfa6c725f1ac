"""The eyes for files without a fault: each says that it does not hold, or why it cannot tell."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from trogdor.instant import NS_PER_S, Clock
from trogdor.probe.expect import CallFails, CallSlow, DataDamaged, FileExpectation, ReadFails, RoomLeft
from trogdor.probe.files import eye_for
from trogdor.probe.looking import LookingWatch
from trogdor.probe.sight import Sight
from trogdor.probe.unnamed import CALLS, Unnamed

WAIT_S = 30.0


@pytest.fixture
def directory(tmp_path: Path) -> str:
    try:
        Unnamed(str(tmp_path)).close()
    except OSError as error:
        pytest.skip(f"no file without a name here: {error}")
    return str(tmp_path)


async def seen(expected: FileExpectation) -> Sight:
    clock = Clock()
    watch = LookingWatch([(eye_for(expected), lambda: False)], clock, clock.boot_ns() + 60 * NS_PER_S)
    try:
        await watch.based(WAIT_S)
        return await watch.seen(clock.boot_ns())
    finally:
        watch.close()


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_that_succeeds_is_not_seen_to_fail(directory: str, call: str) -> None:
    verdict = (await seen(CallFails(directory, call, errno.EIO))).verdict
    assert verdict == f"not seen: {directory}: {call} succeeds, and does not give EIO"


async def test_a_call_that_is_quick_is_not_seen_to_be_slow(directory: str) -> None:
    verdict = (await seen(CallSlow(directory, "write", 3_600_000))).verdict
    assert verdict.startswith(f"not seen: {directory}: write takes "), verdict


async def test_whole_data_is_not_seen_to_be_damaged(directory: str) -> None:
    verdict = (await seen(DataDamaged(directory, 4096))).verdict
    assert verdict == f"not seen: {directory}: what is written and read back is the same"


async def test_room_is_not_seen_to_be_gone(directory: str) -> None:
    assert (await seen(RoomLeft(directory, 0))).verdict.startswith(f"not seen: {directory}: statfs tells of room for ")


async def test_a_file_that_can_be_read_is_not_seen_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    verdict = (await seen(ReadFails(str(tmp_path / "file"), errno.EIO))).verdict
    assert verdict == f"not seen: {tmp_path}/file: reading it gives its first byte, not EIO"


async def test_a_file_that_is_gone_is_unverified(tmp_path: Path) -> None:
    assert (await seen(ReadFails(str(tmp_path / "file"), errno.EIO))).verdict.startswith("unverified: ")


async def test_where_there_can_be_no_file_without_a_name_the_fault_is_unverified() -> None:
    verdict = (await seen(CallFails("/proc", "write", errno.EIO))).verdict
    assert verdict.startswith("unverified: /proc: there can be no file without a name: ")


async def test_what_is_so_without_the_fault_tells_nothing(directory: str) -> None:
    room = os.statvfs(directory).f_bavail * os.statvfs(directory).f_frsize
    assert (await seen(RoomLeft(directory, 2 * room))).verdict.endswith(" bytes without the fault")


async def test_a_call_is_seen_to_fail_and_to_succeed_again(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    is_failing = False

    def write(fd: int, directory: str) -> None:
        if is_failing:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setitem(CALLS, "write", write)
    clock = Clock()
    watch = LookingWatch(
        [(eye_for(CallFails(directory, "write", errno.EROFS)), lambda: False)], clock, clock.boot_ns() + 60 * NS_PER_S
    )
    await watch.based(WAIT_S)
    is_failing = True
    assert (await watch.seen(clock.boot_ns())).verdict == "seen"
    ended = asyncio.create_task(watch.gone(clock.boot_ns()))
    await asyncio.sleep(0.02)
    assert not ended.done()
    is_failing = False
    assert (await ended).verdict == "seen"
    watch.close()


def test_a_call_under_way_keeps_the_file_open_and_no_call_comes_after_its_end(directory: str) -> None:
    file = Unnamed(directory)
    with file.used() as fd:
        file.close()
        assert os.fstat(fd).st_nlink == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.call("write")
