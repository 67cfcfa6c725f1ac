"""Trogdor on nodes that do not have it: run by ducktape."""

import os
from typing import Any

from ducktape.mark.resource import cluster
from ducktape.services.service import Service
from ducktape.tests.test import Test

from trogdor.ducktape.no_op_task_spec import NoOpTaskSpec
from trogdor.ducktape.trogdor import TrogdorService


class InstallTest(Test):  # type: ignore[misc]
    """One agent on a node of the test's own, the coordinator on another; both from wheels."""

    def __init__(self, test_context: Any) -> None:
        super().__init__(test_context)
        self.nodes = Service(test_context, num_nodes=1).nodes

    @cluster(num_nodes=2)
    def test_a_service_installs_itself_from_a_wheel_and_leaves_nothing(self) -> None:
        account = self.nodes[0].account
        found = "find /mnt /opt/trogdor /var/lib/trogdor -not -path '*/ssh*' 2>/dev/null"
        before = account.ssh_output(found, allow_fail=True)
        trogdor = TrogdorService(self.test_context, agent_nodes=self.nodes, wheels=os.environ["TROGDOR_WHEELS_MADE"])
        trogdor.start()
        running = account.ssh_output("ps -eo args").decode()
        assert f"{TrogdorService.PERSISTENT_ROOT}/opt/" in running
        trogdor.create_task("nothing", NoOpTaskSpec(0, 100)).wait_for_done(60)
        trogdor.stop()
        trogdor.clean()
        trogdor.free()
        assert account.ssh_output(found, allow_fail=True) == before
        assert TrogdorService.PERSISTENT_ROOT not in account.ssh_output("ps -eo args").decode()
