"""Kibosh as a service, alone: run by ducktape."""

import errno
import json
from collections.abc import Callable
from typing import Any

from ducktape.cluster.remoteaccount import RemoteCommandError
from ducktape.mark.resource import cluster
from ducktape.services.service import Service
from ducktape.tests.test import Test

from trogdor.ducktape.files_unreadable_fault_spec import FilesUnreadableFaultSpec
from trogdor.ducktape.kibosh import KiboshService

TARGET, MIRROR = "/mnt/kept", "/mnt/faulty"


class KiboshTest(Test):  # type: ignore[misc]
    """Kibosh on a node of the test's own."""

    def __init__(self, test_context: Any) -> None:
        super().__init__(test_context)
        self.nodes = Service(test_context, num_nodes=1).nodes

    @cluster(num_nodes=1)
    def test_faults_are_set_felt_and_read_back(self) -> None:
        (node,) = self.nodes
        account = node.account
        account.ssh(f"mkdir {TARGET} && echo text >{TARGET}/file")
        kibosh = KiboshService(self.test_context, self.nodes, TARGET, MIRROR)
        kibosh.start()
        read = f"cat {MIRROR}/file"
        assert kibosh.get_fault_json(node) == '{"faults":[]}'
        assert account.ssh_output(read) == b"text\n"
        spec = FilesUnreadableFaultSpec(0, 1000, self.nodes, MIRROR, "/fi", errno.ENOSPC)
        kibosh.set_faults(node, [spec])
        assert kibosh.get_fault_json(node) == json.dumps({"faults": [spec.kibosh_message]})
        assert b"No space left" in account.ssh_output(f"{read} 2>&1", allow_fail=True)
        assert "faults[0].code" in refusal(lambda: kibosh.set_faults(node, [{"type": "unreadable"}]))
        assert kibosh.get_fault_json(node) == json.dumps({"faults": [spec.kibosh_message]})
        kibosh.set_faults(node, [])
        assert kibosh.get_fault_json(node) == "{}"
        assert account.ssh_output(read) == b"text\n"
        kibosh.stop()
        assert not kibosh.kibosh_running(node)
        kibosh.clean()
        assert account.ssh_output(f"ls /mnt; rm -r {TARGET}") == b"kept\n", "only what was there before"


def refusal(set_faults: Callable[[], None]) -> str:
    """What the faults are refused with; an empty string if they are not."""
    try:
        set_faults()
    except RemoteCommandError as error:
        return str(error)
    return ""
