"""HTTP over connections that a node opens."""

from __future__ import annotations

import http.client

from trogdor.lab.node import Node


class NodeHTTPConnection(http.client.HTTPConnection):
    """As http.client's, but that the connection is opened inside `node`."""

    def __init__(self, node: Node, host: str, port: int, timeout: float = 5.0) -> None:
        super().__init__(host, port, timeout=timeout)
        self._node = node
        self._timeout = timeout

    def connect(self) -> None:
        self.sock = self._node.connect(self.host, self.port, self._timeout)


def answers(node: Node, port: int, path: str, timeout: float = 2.0) -> bool:
    """Whether a server on the node's loopback answers a GET of `path` with 200."""
    connection = NodeHTTPConnection(node, "127.0.0.1", port, timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
