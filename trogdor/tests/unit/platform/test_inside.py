"""Files of a node, read by a root who must not be led astray."""

import os
from pathlib import Path

import pytest

from trogdor.claim.place import Place
from trogdor.platform.linux.inside import read_text
from trogdor.platform.linux.processes import find


def test_the_beginning_of_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("4711\n" + "x" * 100)
    (tmp_path / "link").symlink_to("pid")
    assert read_text(Place.here(), str(tmp_path / "link"), 6) == "4711\nx"


@pytest.mark.parametrize("path", ["/dev/zero", "/proc/self/fd"])
def test_what_is_no_regular_file_is_not_read(path: str) -> None:
    with pytest.raises(OSError, match=f"{path} is no regular file"):
        read_text(Place.here(), path, 32)


def test_a_fifo_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="no regular file"):
        read_text(Place.here(), str(tmp_path / "fifo"), 32)


def test_what_a_file_holds_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    with pytest.raises(OSError, match="holds no process id") as refused:
        find(Place.here(), {"pidFile": str(tmp_path / "secret")})
    assert "hunter2" not in str(refused.value)
