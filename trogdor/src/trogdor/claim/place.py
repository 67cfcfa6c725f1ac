"""Where a node is: this process's own namespaces, or those of another process, entered by the calling thread."""

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Place:
    """The namespaces of a node. Namespaces are told apart by their inode, which no two that exist share."""

    net_fd: int | None = None
    """An open descriptor of the network namespace; None: our own."""
    net: int = 0
    pid: int = 0
    """Inodes of the network and of the pid namespace."""
    root_pid: int | None = None
    """The process whose namespaces these are; None: our own."""
    root_fd: int | None = None
    """A pidfd of that process."""

    @classmethod
    def here(cls) -> "Place":
        """The namespaces of this process."""
        return cls(net=_inode("self", "net"), pid=_inode("self", "pid"))

    @classmethod
    def of_process(cls, pid: int) -> "Place":
        """The namespaces of another process. Raises OSError when it is gone or not ours to enter."""
        root_fd = os.pidfd_open(pid)
        try:
            net_fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            net, pids = os.fstat(net_fd).st_ino, _inode(str(pid), "pid")
            return cls(net_fd=net_fd, net=net, pid=pids, root_pid=pid, root_fd=root_fd)
        except OSError:
            os.close(root_fd)
            raise

    @property
    def is_gone(self) -> bool:
        """Whether the process whose namespaces these are has ended, and nothing in them concerns anybody any more."""
        if self.root_fd is None:
            return False
        ended = select.poll()
        ended.register(self.root_fd, select.POLLIN)
        return bool(ended.poll(0))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in the place's network namespace within. A socket made there stays there."""
        if self.net_fd is None:
            yield
            return
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(self.net_fd)
            try:
                yield
            finally:
                _setns(back)
        finally:
            os.close(back)

    def close(self) -> None:
        """Lets the namespaces go."""
        for fd in (self.net_fd, self.root_fd):
            if fd is not None:
                os.close(fd)


def _inode(pid: str, kind: str) -> int:
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino


def _setns(fd: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"cannot enter a network namespace: {os.strerror(error)}")
