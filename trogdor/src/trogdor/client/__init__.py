"""The Python client of both daemons.

    from trogdor.client import Client

    client = Client("localhost:8889")                       # or unix:PATH
    with client.lease() as lease:                           # gone when this process is
        client.create_task("t1", {"class": "NoOpTaskSpec", "durationMs": 1000}, lease)
        print(client.wait_for_done("t1", deadline_s=10))

``AsyncClient`` has the same methods as coroutines; ``AgentClient`` and ``AsyncAgentClient`` speak to one agent.
"""

from typing import TYPE_CHECKING, Any

from trogdor.client.calls import Target, Task
from trogdor.client.errors import (
    ClientError,
    Conflict,
    DeadlineExceeded,
    Failed,
    NotFound,
    Problem,
    Refused,
    Unreachable,
)
from trogdor.client.lease import Lease
from trogdor.client.sync import AgentClient, Client

if TYPE_CHECKING:
    from trogdor.client.aio import AsyncAgentClient, AsyncClient

__all__ = [
    "AgentClient", "AsyncAgentClient", "AsyncClient", "Client", "ClientError", "Conflict", "DeadlineExceeded",
    "Failed", "Lease", "NotFound", "Problem", "Refused", "Target", "Task", "Unreachable",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in ("AsyncClient", "AsyncAgentClient"):  # aiohttp takes 0.1 s to import
        from trogdor.client import aio

        return getattr(aio, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
