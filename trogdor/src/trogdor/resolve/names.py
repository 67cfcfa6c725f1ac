"""What a name stands for."""

import socket
from functools import cache


@cache
def addresses_of(name: str) -> frozenset[str]:
    """The addresses a name stands for now; none where it stands for nothing."""
    try:
        return frozenset(str(info[4][0]) for info in socket.getaddrinfo(name, None))
    except OSError:
        return frozenset()
