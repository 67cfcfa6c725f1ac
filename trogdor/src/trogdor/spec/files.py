"""Faults of files, injected by Kibosh: a pass-through file system, mounted where the system keeps its data."""

import errno
from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, StrictFloat, StrictInt, StrictStr

from trogdor.spec.base import Spec, SpecError, require_known
from trogdor.spec.jackson import Int, String, Strings
from trogdor.topology import Topology

OPERATIONS = frozenset(
    {
        "lookup", "open", "create", "read", "write", "fsync", "close", "rename", "unlink", "mkdir", "rmdir",
        "readdir", "getattr", "setattr", "truncate", "fallocate", "link", "symlink", "mknod", "readlink", "statfs",
        "getxattr", "setxattr", "listxattr", "removexattr", "lseek",
    }
)  # fmt: skip
"""What can fail by itself: Kibosh's words for the kernel's operations."""


class FilesUnreadableFaultSpec(Spec, name="org.apache.kafka.trogdor.fault.FilesUnreadableFaultSpec"):
    """Reads of files under a Kibosh mount fail."""

    example: ClassVar[dict[str, Any]] = {
        "nodeNames": ["n1"], "mountPath": "/mnt/kibosh", "prefix": "/kafka-logs", "errorCode": 5,
    }  # fmt: skip
    keeps_empty: ClassVar[frozenset[str]] = frozenset({"error_code"})

    node_names: Strings = Field((), description="The nodes on which files are to be unreadable.")
    mount_path: String = Field("", description="Where Kibosh is mounted.")
    prefix: String = Field("", description="Only files whose path below the mount starts so.")
    error_code: Int = Field(0, description="The errno that read(2) gives, such as 5 for EIO.")

    def target_nodes(self, topology: Topology) -> list[str]:
        return require_known(list(self.node_names), topology)

    def seen_from(self, topology: Topology) -> Collection[str]:
        return ()


def _errno(name: str) -> str:
    if name not in errno.errorcode.values():
        raise ValueError(f"{name!r} is no error's name, such as EIO, ENOSPC or EROFS")
    return name


def _operation(name: str) -> str:
    if name not in OPERATIONS:
        raise ValueError(f"{name!r} is no operation: {', '.join(sorted(OPERATIONS))}")
    return name


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"{path!r} is no absolute path")
    return path


ErrnoName = Annotated[StrictStr, AfterValidator(_errno)]
Operation = Annotated[StrictStr, AfterValidator(_operation)]
AbsolutePath = Annotated[StrictStr, Field(max_length=4096), AfterValidator(_absolute)]
Share = Annotated[StrictFloat | StrictInt, Field(gt=0, le=1)]


class FilesFaultSpec(Spec):
    """What all our faults of files say: on which nodes, under which mount, for which files, and how often."""

    node_names: tuple[StrictStr, ...] = Field(description="The nodes.")
    mount_path: AbsolutePath = Field(description="Where Kibosh is mounted on each of them.")
    prefix: AbsolutePath = Field("/", description="Only files whose path below the mount starts so.")
    suffix: StrictStr = Field("", max_length=255, description="Only files whose path ends so.")
    glob: StrictStr = Field("", max_length=4096, description="Only paths that match; ** crosses directories.")
    fraction: Share | None = Field(None, description="The chance of each call; all of them unless told.")
    count: StrictInt | None = Field(None, ge=1, description="At so many calls, and no more.")
    nth: StrictInt | None = Field(
        None, ge=1, description="At the n-th call, counted from 1; with count: from that one on."
    )
    seed: StrictInt = Field(0, description="Of the random choices.")

    def target_nodes(self, topology: Topology) -> list[str]:
        return require_known(list(self.node_names), topology)

    def seen_from(self, topology: Topology) -> Collection[str]:
        return ()


class FilesFailFaultSpec(FilesFaultSpec, name="trogdor.fault.FilesFailFaultSpec"):
    """Operations on files fail with an error: any error, on any operation."""

    example: ClassVar[dict[str, Any]] = {
        "nodeNames": ["n1"], "mountPath": "/data", "operations": ["fsync"], "error": "EIO",
    }  # fmt: skip

    operations: tuple[Operation, ...] = Field(min_length=1, description="Which fail: open, read, write, fsync, …")
    error: ErrnoName = Field("EIO", description="The error's name.")


class FilesUnwritableFaultSpec(FilesFaultSpec, name="trogdor.fault.FilesUnwritableFaultSpec"):
    """write(2) to files fails."""

    example: ClassVar[dict[str, Any]] = {"nodeNames": ["n1"], "mountPath": "/data", "prefix": "/wal", "error": "EROFS"}

    error: ErrnoName = Field("EIO", description="The error's name.")


class SlowFilesFaultSpec(FilesFaultSpec, name="trogdor.fault.SlowFilesFaultSpec"):
    """Operations on files take longer, or share a limited bandwidth."""

    example: ClassVar[dict[str, Any]] = {
        "nodeNames": ["n1"], "mountPath": "/data", "operations": ["fsync"], "delayMs": 50,
    }  # fmt: skip

    operations: tuple[Operation, ...] = Field(("read", "write"), min_length=1, description="Which take longer.")
    delay_ms: StrictFloat | StrictInt = Field(0, ge=0, le=3_600_000, description="How much longer, in ms.")
    jitter_ms: StrictFloat | StrictInt = Field(0, ge=0, le=3_600_000, description="The delay varies by so much, in ms.")
    distribution: Literal["constant", "uniform", "normal", "exponential", "pareto"] = Field(
        "constant", description="How the delay is drawn."
    )
    bytes_per_sec: StrictInt = Field(0, ge=0, description="Reads and writes together get no more; 0: no limit.")

    def check(self, topology: Topology) -> None:
        if not self.delay_ms and not self.bytes_per_sec:
            raise SpecError("one of delayMs and bytesPerSec is needed")


class CorruptFilesFaultSpec(FilesFaultSpec, name="trogdor.fault.CorruptFilesFaultSpec"):
    """What is read or written is not what was written or is stored."""

    example: ClassVar[dict[str, Any]] = {"nodeNames": ["n1"], "mountPath": "/data", "how": "bitFlip", "fraction": 0.01}

    how: Literal["bitFlip", "readZero", "readRandom", "writeZero", "writeRandom", "writeDrop", "torn"] = Field(
        description="bitFlip: the same bits of a block on every read; torn: only the first part of a write survives."
    )
    unit: StrictInt = Field(
        512, ge=1, le=1 << 20, description="The part of a torn write that survives whole, in bytes."
    )


class DiskFullFaultSpec(FilesFaultSpec, name="trogdor.fault.DiskFullFaultSpec"):
    """The disk is full once its files have grown by some bytes: ENOSPC, and statfs agrees."""

    example: ClassVar[dict[str, Any]] = {"nodeNames": ["n1"], "mountPath": "/data", "afterBytes": 1048576}

    after_bytes: StrictInt = Field(0, ge=0, description="How much room is left, in bytes.")


class LoseUnsyncedWritesFaultSpec(FilesFaultSpec, name="trogdor.fault.LoseUnsyncedWritesFaultSpec"):
    """At its end, what was written since its start and never synced is lost: what a power cut leaves."""

    example: ClassVar[dict[str, Any]] = {"nodeNames": ["n1"], "mountPath": "/data"}
