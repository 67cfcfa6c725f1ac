"""Files that cannot be read, below a Kibosh mount."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trogdor.ducktape.task_spec import TaskSpec


class FilesUnreadableFaultSpec(TaskSpec):
    """Reads below a prefix of a Kibosh mount fail with an error code."""

    def __init__(
        self, start_ms: int, duration_ms: int, node_names: Iterable[Any], mount_path: str, prefix: str, error_code: int
    ) -> None:
        """``prefix`` is below ``mount_path``; ``error_code`` is errno's number, such as 5 for EIO."""
        super().__init__(start_ms, duration_ms)
        self.message |= {
            "class": "org.apache.kafka.trogdor.fault.FilesUnreadableFaultSpec",
            "nodeNames": self.to_node_names(node_names),
            "mountPath": mount_path,
            "prefix": prefix,
            "errorCode": error_code,
        }
        self.kibosh_message = {"type": "unreadable", "prefix": prefix, "code": error_code}
        """The same fault as Kibosh's control file has it, for KiboshService.set_faults."""
