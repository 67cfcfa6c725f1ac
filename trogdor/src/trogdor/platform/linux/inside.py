"""Files as the processes of a place see them. A link leads wherever it leads there, and never out. Standard library."""

import ctypes
import os
import stat

from trogdor.claim.place import Place

_OPENAT2 = 437
"""The same number on every architecture; in Linux since 5.6."""
_NO_MAGICLINKS, _IN_ROOT = 0x02, 0x10


class _How(ctypes.Structure):
    """``struct open_how`` of openat2(2)."""

    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def read_text(place: Place, path: str, most: int) -> str:
    """The first ``most`` bytes of a regular file. Raises OSError, also for what is no regular file: it is not read."""
    root = os.open("/" if place.root_pid is None else f"/proc/{place.root_pid}/root", os.O_PATH | os.O_DIRECTORY)
    try:
        fd = _open_in(root, path)
    finally:
        os.close(root)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{path} is no regular file")
        return os.read(fd, most).decode(errors="replace")
    finally:
        os.close(fd)


def _open_in(root: int, path: str) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    how = _How(os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0, _IN_ROOT | _NO_MAGICLINKS)
    fd: int = libc.syscall(_OPENAT2, root, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
    if fd < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), path)
    return fd
