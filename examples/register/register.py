"""A small replicated map with a real mistake, for `trogdor hunt` to find.

    register.py serve PEER…    the first node's clients write, every node answers reads
    register.py load           writes k1, k2, … to this node's server, for ever
    register.py keys HOST      prints the numbers of the keys that a node has

A write is acknowledged once it is in the node's own memory; each peer is sent it as one datagram. The author thought
that a datagram which is lost is made good by the next one. It is not: every key has its own, and none is sent twice.
"""

import asyncio
import json
import sys
import time
from typing import Any

PORT = 7000
EVERY_S = 0.01


class Replica(asyncio.DatagramProtocol):
    """One node's copy of the map."""

    def __init__(self, peers: list[str]) -> None:
        self.keys: dict[int, str] = {}
        self.peers = peers
        self.outgoing: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self.outgoing = transport

    def datagram_received(self, data: bytes, _: Any) -> None:
        key, value = json.loads(data)
        self.keys[key] = value

    def put(self, key: int, value: str) -> None:
        """Keeps it here, and sends it to the peers: once."""
        self.keys[key] = value
        for peer in self.peers:
            assert self.outgoing is not None
            self.outgoing.sendto(json.dumps([key, value]).encode(), (peer, PORT))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Lines of JSON: `{"put": [key, value]}` is acknowledged with `true`, `{"keys": true}` with the keys."""
        while line := await reader.readline():
            request = json.loads(line)
            if "put" in request:
                self.put(*request["put"])
            answer = sorted(self.keys) if "keys" in request else True
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()


async def serve(peers: list[str]) -> None:
    """Answers until it is ended."""
    replica = Replica([(await asyncio.get_running_loop().getaddrinfo(peer, PORT, family=2))[0][4][0] for peer in peers])
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: replica, ("0.0.0.0", PORT))
    server = await asyncio.start_server(replica.answer, "0.0.0.0", PORT, limit=1 << 24)
    await server.serve_forever()


async def ask(host: str, request: dict[str, Any]) -> Any:
    """One request to a node's server, one answer."""
    reader, writer = await asyncio.open_connection(host, PORT, limit=1 << 24)
    writer.write(json.dumps(request).encode() + b"\n")
    answer = json.loads(await reader.readline())
    writer.close()
    return answer


def load() -> None:
    """Writes a key every 10 ms; the keys count up."""
    for key in range(1, sys.maxsize):
        asyncio.run(ask("localhost", {"put": [key, f"value {key}"]}))
        time.sleep(EVERY_S)


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "serve":
        asyncio.run(serve(arguments))
    elif what == "load":
        load()
    else:
        print(*asyncio.run(ask(arguments[0], {"keys": True})))
