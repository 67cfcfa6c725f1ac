"""Client leases: the tasks of a client that is gone are stopped."""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from trogdor.http.sse import Event, Feed
from trogdor.wire.errors import BadRequest, NotFound, Unavailable

if TYPE_CHECKING:
    from trogdor.coordinator.state import Task
    from trogdor.coordinator.tasks import Tasks

UNHEARD_S = 2.0
"""How long a lease's client may acknowledge nothing; it is written to each second."""
GRACE_S = 2.0
"""How long a lease may be closed before its tasks are stopped; with the above: 5 s after its client is gone."""
RESTART_GRACE_S = 5.0
"""How long it may be closed after a coordinator's restart."""
END_S = 10.0
MAX_LEASES = 10_000


class Leases:
    """Each lease: held open by a client, or counting down."""

    def __init__(self, tasks: "Tasks") -> None:
        self._tasks = tasks
        self._held: dict[str, Feed] = {}
        self._ending: dict[str, asyncio.TimerHandle] = {}
        self._closed = False

    def resume(self) -> None:
        """After a restart: gives the leases of tasks that are not done some time to come back."""
        for lease in {task.lease for task in self._tasks.by_id.values() if task.lease and not task.is_final}:
            self._count_down(lease, RESTART_GRACE_S)

    def require(self, lease: str) -> str:
        """``lease`` if tasks may be created with it; the empty string is none. Raises BadRequest."""
        if lease and lease not in self._held and lease not in self._ending:
            raise BadRequest(f"Trogdor-Lease: there is no lease {lease[:100]!r}, or it has ended")
        return lease

    async def hold(self, lease: str) -> AsyncGenerator[Event, None]:
        """The stream that holds a lease: a new one, or one that was closed a moment ago. Raises NotFound."""
        if lease and lease not in self._held and lease not in self._ending:
            raise NotFound(f"There is no lease {lease[:100]!r}, or it has ended: its tasks were stopped")
        if len(self._held) + len(self._ending) >= MAX_LEASES:
            raise Unavailable(f"there are {MAX_LEASES} leases")
        return self._hold(lease or secrets.token_urlsafe(12))

    async def _hold(self, lease: str) -> AsyncGenerator[Event, None]:
        feed = Feed()
        if (counting := self._ending.pop(lease, None)) is not None:
            counting.cancel()
        if (before := self._held.get(lease)) is not None:
            before.close()
        self._held[lease] = feed
        try:
            yield Event("lease", {"id": lease})
            async for event in feed:
                yield event
        finally:
            if self._held.get(lease) is feed:
                del self._held[lease]
                self._count_down(lease, GRACE_S)

    def _count_down(self, lease: str, grace_s: float) -> None:
        if self._closed:
            return
        self._ending[lease] = asyncio.get_running_loop().call_later(grace_s, self._expire, lease)

    def _expire(self, lease: str) -> None:
        self._ending.pop(lease, None)
        for task in self._of(lease):
            self._tasks.events.emit("lease-expired", taskId=task.id)
            self._tasks.cancel(task)

    def _of(self, lease: str) -> "list[Task]":
        return [task for task in self._tasks.by_id.values() if task.lease == lease and not task.is_final]

    def close(self) -> None:
        """Leaves everything as it is: the next coordinator goes on counting."""
        self._closed = True
        for counting in self._ending.values():
            counting.cancel()

    async def end(self, lease: str) -> dict[str, Any]:
        """Ends a lease at once; answers when its tasks are final, or which nodes have not acknowledged in time."""
        if (feed := self._held.pop(lease, None)) is not None:
            feed.close()
        if (counting := self._ending.pop(lease, None)) is not None:
            counting.cancel()
        answer = await self._tasks.end(self._of(lease), END_S)
        await self._tasks.store.flush()
        return answer
