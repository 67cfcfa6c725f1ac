"""Asking a node's pid 1: one packet there, one back, with file descriptors beside them."""

from __future__ import annotations

import json
import os
import re
import select
import socket
from collections.abc import Sequence
from typing import Any

from trogdor.lab.node_init import MESSAGE_MAX, receive

_TIMEOUT_S = 30.0


class NodeGone(ConnectionError):
    """The node, or its whole lab, has ended."""


def ask(path: str, op: str, descriptors: Sequence[int] = (), **request: Any) -> tuple[dict[str, Any], list[int]]:
    """Returns the answer and its descriptors. Raises what the node answers as OSError, or NodeGone."""
    message = json.dumps({"op": op, **request}).encode()
    if len(message) > MESSAGE_MAX:
        raise ValueError(f"arguments and environment are {len(message)} bytes, of at most {MESSAGE_MAX}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(_TIMEOUT_S)
        try:
            connection.connect(path)
            socket.send_fds(connection, [message], descriptors)
            text, received = receive(connection, 4)
        except (ConnectionError, FileNotFoundError) as error:
            raise NodeGone(f"no node answers at {path}: {error.strerror}") from None
    if not text:
        raise NodeGone(f"the node at {path} ended while it was asked")
    answer: dict[str, Any] = json.loads(text)
    if "error" in answer:
        for descriptor in received:
            os.close(descriptor)
        raise OSError(*answer["error"])
    return answer, received


def is_readable(descriptor: int, timeout_s: float | None) -> bool:
    """Whether something can be read, waiting for it up to `timeout_s`; for ever if None."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))


def pid_of(pidfd: int) -> int | None:
    """The pid behind a pidfd as this process counts; None if it cannot see it, or it has ended."""
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        found = re.search(r"^Pid:\s+(\d+)", file.read(), re.MULTILINE)
    return int(found[1]) or None if found else None
