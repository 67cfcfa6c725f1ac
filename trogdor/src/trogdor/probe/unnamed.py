"""A file without a name (``O_TMPFILE``): no program ever sees it, and it is gone when it is closed.

What is done to it goes the way of every file of its directory, so a probe can write, sync and cut off without touching
a file of the system under test.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FLAGS = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
MARK = b"trogdor"


class Unnamed:
    """An open file without a name. Raises OSError where there can be none.

    A call that is under way when it is closed keeps it open: no later file gets what was meant for it.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._fd = os.open(directory, FLAGS, 0o600)
        self._lock = threading.Lock()
        self._users = 0
        self._is_open = True
        self._written = 0
        self._data = b""

    @contextmanager
    def used(self) -> Iterator[int]:
        """Its descriptor, valid within. Raises OSError when it is closed."""
        with self._lock:
            if not self._is_open:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            self._users += 1
        try:
            yield self._fd
        finally:
            with self._lock:
                self._users -= 1
                is_last = not self._is_open and not self._users
            if is_last:
                os.close(self._fd)

    def call(self, operation: str) -> None:
        """Makes one call, see CALLS. Raises OSError."""
        with self.used() as fd:
            CALLS[operation](fd, self.directory)

    def write_anew(self, size: int) -> None:
        """Writes ``size`` bytes that it never held before. Raises OSError."""
        self._written += 1
        self._data = ((MARK + self._written.to_bytes(9, "big")) * (size // (len(MARK) + 9) + 1))[:size]
        with self.used() as fd:
            os.pwrite(fd, self._data, 0)

    def is_damaged(self) -> bool:
        """Whether what was written last is read back otherwise. Raises OSError."""
        with self.used() as fd:
            return os.pread(fd, len(self._data), 0) != self._data

    def room(self) -> int:
        """How many bytes there is room for."""
        with self.used() as fd:
            found = os.fstatvfs(fd)
        return found.f_bavail * found.f_frsize

    def close(self) -> None:
        """The file is gone, or is with the last call that is under way. Again is no error."""
        with self._lock:
            is_last = self._is_open and not self._users
            self._is_open = False
        if is_last:
            os.close(self._fd)


CALLS: dict[str, Callable[[int, str], object]] = {
    "write": lambda fd, _: os.pwrite(fd, MARK, 0),
    "read": lambda fd, _: os.pread(fd, 1, 0),
    "fsync": lambda fd, _: os.fsync(fd),
    "truncate": lambda fd, _: os.ftruncate(fd, len(MARK)),
    "fallocate": lambda fd, _: os.posix_fallocate(fd, 0, len(MARK)),
    "close": lambda fd, _: os.close(os.dup(fd)),
    "getattr": lambda fd, _: os.fstat(fd),
    "setattr": lambda fd, _: os.fchmod(fd, 0o600),
    "listxattr": lambda fd, _: os.listxattr(fd),
    "lseek": lambda fd, _: os.lseek(fd, 0, os.SEEK_HOLE),
    "create": lambda _, directory: os.close(os.open(directory, FLAGS, 0o600)),
}
"""Operation → the call that it is. Of those that need a name there is none."""
