"""Commands on nodes by ssh: run by ducktape. How long one takes, `bench/ssh.py` says."""

import socket

from ducktape.mark.resource import cluster
from ducktape.services.service import Service
from ducktape.tests.test import Test


class SshTest(Test):  # type: ignore[misc]
    """One node."""

    @cluster(num_nodes=1)
    def test_a_command_is_sent_at_once(self) -> None:
        account = Service(self.test_context, num_nodes=1).nodes[0].account
        assert account.ssh_output("echo there") == b"there\n"
        connection = account.ssh_client.get_transport().sock
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
