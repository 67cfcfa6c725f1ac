"""Faults of files, injected by Kibosh."""

from typing import Any, ClassVar

from pydantic import Field

from trogdor.spec.base import Spec, require_known
from trogdor.spec.jackson import Int, String, Strings
from trogdor.topology import Topology


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
