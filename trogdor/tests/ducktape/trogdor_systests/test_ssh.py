"""Commands on nodes by ssh: run by ducktape, which keeps the figure; `make test-ducktape` prints it."""

import socket
import statistics
import time

from ducktape.mark.resource import cluster
from ducktape.services.service import Service
from ducktape.tests.test import Test

COMMANDS = 200


class SshTest(Test):  # type: ignore[misc]
    """One node."""

    @cluster(num_nodes=1)
    def test_a_command_is_sent_at_once(self) -> dict[str, float]:
        account = Service(self.test_context, num_nodes=1).nodes[0].account
        assert account.ssh_output("echo there") == b"there\n"
        connection = account.ssh_client.get_transport().sock
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        took_ms = []
        for _ in range(COMMANDS):
            began = time.perf_counter()
            assert account.ssh("true") == 0
            took_ms.append((time.perf_counter() - began) * 1000)
        return {"ssh_ms_p50": round(statistics.median(took_ms), 2)}
