"""As much of Kafka's protocol as it takes to ask who is who, quick to import.

Versions are ones that Kafka 3.9 and 4.1 both speak. Source: the protocol guide of Apache Kafka.
"""

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trogdor.resolve import CannotResolve

if TYPE_CHECKING:
    import ssl

METADATA, METADATA_VERSION = 3, 7
FIND_COORDINATOR, FIND_COORDINATOR_VERSION = 10, 2
DESCRIBE_QUORUM, DESCRIBE_QUORUM_VERSION = 55, 2
QUORUM_TOPIC = "__cluster_metadata"
CLIENT_ID = "trogdor-resolve"
MAX_RESPONSE_BYTES = 64 << 20

COORDINATOR_TYPES = {"group": 0, "transaction": 1}

ERRORS = {3: "no such topic or partition", 5: "no leader at present", 15: "no coordinator at present"}


@dataclass(frozen=True)
class Broker:
    """A broker, or a controller."""

    id: int
    host: str
    port: int


@dataclass(frozen=True)
class Partition:
    """A partition as a broker knows it; ``leader`` is -1 where there is none."""

    leader: int
    leader_epoch: int
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


@dataclass(frozen=True)
class Metadata:
    """The brokers, and the partitions of the topics asked for."""

    brokers: dict[int, Broker]
    partitions: dict[tuple[str, int], Partition]


@dataclass(frozen=True)
class Quorum:
    """The metadata quorum as its leader knows it."""

    leader: int
    epoch: int
    voters: tuple[int, ...]
    nodes: dict[int, Broker]


class _Reader:
    """Reads a response's fields one after another."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self, layout: str) -> int:
        (value,) = struct.unpack_from(layout, self._data, self._at)
        self._at += struct.calcsize(layout)
        return int(value)

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
            shift += 7

    def _text(self, length: int) -> str:
        text = self._data[self._at : self._at + max(length, 0)]
        self._at += max(length, 0)
        return text.decode()

    def string(self) -> str:
        return self._text(self.number(">h"))

    def compact(self) -> str:
        return self._text(self.varint() - 1)

    def numbers(self) -> tuple[int, ...]:
        return tuple(self.number(">i") for _ in range(self.number(">i")))

    def skip(self, count: int) -> None:
        self._at += count

    def tags(self) -> None:
        for _ in range(self.varint()):
            self.varint()
            self.skip(self.varint())


def connect(host: str, port: int, timeout_s: float, tls: "ssl.SSLContext | None" = None) -> "Connection":
    """A connection from here to a broker. Raises OSError."""
    plain = socket.create_connection((host, port), timeout_s)
    stream = tls.wrap_socket(plain, server_hostname=host) if tls is not None else plain
    return Connection(stream, f"{host}:{port}")


class Connection:
    """Questions to one broker, over a socket that is closed with it. Raises OSError, CannotResolve."""

    def __init__(self, stream: socket.socket, name: str) -> None:
        self._socket, self._name = stream, name
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def metadata(self, topics: Sequence[str] | None = ()) -> Metadata:
        """The brokers, and the partitions of these topics; None: of all topics."""
        names = b"".join(_string(topic) for topic in topics or ())
        count = -1 if topics is None else len(topics)
        reader = self._ask(METADATA, METADATA_VERSION, struct.pack(">i", count) + names + b"\0")
        reader.number(">i")
        brokers: dict[int, Broker] = {}
        for _ in range(reader.number(">i")):
            broker = Broker(reader.number(">i"), reader.string(), reader.number(">i"))
            brokers[broker.id] = broker
            reader.string()
        reader.string()
        reader.number(">i")
        return Metadata(brokers, dict(self._partitions(reader)))

    def _partitions(self, reader: _Reader) -> list[tuple[tuple[str, int], Partition]]:
        found = []
        for _ in range(reader.number(">i")):
            error, topic = reader.number(">h"), reader.string()
            reader.skip(1)
            if error not in (0, 5):
                raise CannotResolve(f"{topic}: {ERRORS.get(error, f'Kafka error {error}')}")
            for _ in range(reader.number(">i")):
                reader.number(">h")
                number, leader, epoch = (reader.number(">i") for _ in range(3))
                replicas, in_sync = reader.numbers(), reader.numbers()
                reader.numbers()
                found.append(((topic, number), Partition(leader, epoch, replicas, in_sync)))
        return found

    def coordinator(self, kind: str, key: str) -> Broker:
        """The coordinator of a consumer group (``group``) or of a transactional id (``transaction``)."""
        body = _string(key) + struct.pack(">b", COORDINATOR_TYPES[kind])
        reader = self._ask(FIND_COORDINATOR, FIND_COORDINATOR_VERSION, body)
        reader.number(">i")
        error, message = reader.number(">h"), reader.string()
        if error:
            raise CannotResolve(f"{kind} {key}: {message or ERRORS.get(error, f'Kafka error {error}')}")
        return Broker(reader.number(">i"), reader.string(), reader.number(">i"))

    def quorum(self) -> Quorum:
        """KRaft's metadata quorum."""
        topic = _compact(QUORUM_TOPIC) + _array(struct.pack(">i", 0) + b"\0") + b"\0"
        reader = self._ask(DESCRIBE_QUORUM, DESCRIBE_QUORUM_VERSION, _array(topic) + b"\0", flexible=True)
        self._check(reader)
        reader.varint()
        reader.compact()
        reader.varint()
        reader.number(">i")
        self._check(reader)
        leader, epoch = reader.number(">i"), reader.number(">i")
        reader.number(">q")
        voters = self._replicas(reader)
        self._replicas(reader)
        reader.tags()
        reader.tags()
        return Quorum(leader, epoch, voters, self._nodes(reader))

    def _check(self, reader: _Reader) -> None:
        error, message = reader.number(">h"), reader.compact()
        if error:
            raise CannotResolve(f"{self._name}: {message or f'Kafka error {error}'}")

    def _replicas(self, reader: _Reader) -> tuple[int, ...]:
        found = []
        for _ in range(reader.varint() - 1):
            found.append(reader.number(">i"))
            reader.skip(16 + 8 + 8 + 8)
            reader.tags()
        return tuple(found)

    def _nodes(self, reader: _Reader) -> dict[int, Broker]:
        found: dict[int, Broker] = {}
        for _ in range(reader.varint() - 1):
            number = reader.number(">i")
            for _ in range(reader.varint() - 1):
                reader.compact()
                found[number] = Broker(number, reader.compact(), reader.number(">H"))
                reader.tags()
            reader.tags()
        return found

    def _ask(self, api: int, version: int, body: bytes, flexible: bool = False) -> _Reader:
        header = struct.pack(">hhi", api, version, 1) + _string(CLIENT_ID) + (b"\0" if flexible else b"")
        self._socket.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
        (size,) = struct.unpack(">i", self._exactly(4))
        if not 4 <= size <= MAX_RESPONSE_BYTES:
            raise CannotResolve(f"{self._name} does not speak Kafka's protocol")
        reader = _Reader(self._exactly(size))
        reader.number(">i")
        if flexible:
            reader.tags()
        return reader

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise CannotResolve(f"{self._name} closed the connection: it does not know this request")
            data += part
        return bytes(data)


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text.encode())) + text.encode()


def _compact(text: str) -> bytes:
    return _varint(len(text.encode()) + 1) + text.encode()


def _array(item: bytes) -> bytes:
    return _varint(2) + item


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + _varint(value >> 7)
