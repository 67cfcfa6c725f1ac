"""A client's lease: its tasks end when it is gone."""

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from trogdor.client import calls
from trogdor.client.errors import ClientError, NotFound, Unreachable

if TYPE_CHECKING:
    from trogdor.client.sync import Connection

OPEN_DEADLINE_S = 10.0
SILENCE_S = 3.0
"""The coordinator writes each second; it stops the tasks of a lease that was closed or silent this long."""


class Lease:
    """Held open by a thread while its block runs; leaving the block stops the tasks and waits for them."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._ready = threading.Event()
        self._closed = threading.Event()
        self._error: ClientError | None = None
        self._id: str | None = None
        self._thread = threading.Thread(target=self._hold, name="trogdor-lease", daemon=True)

    @property
    def id(self) -> str:
        """What tasks of this lease are created with. Raises Unreachable once the lease is lost."""
        if self._error is not None:
            raise self._error
        assert self._id is not None, "a lease is entered before it is used"
        return self._id

    @property
    def lost(self) -> bool:
        """Whether the coordinator could not be reached long enough for it to have stopped the tasks."""
        return self._error is not None

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(OPEN_DEADLINE_S) and self._error is None:
            self._closed.set()
            raise Unreachable(str(self._connection.target), "no lease was granted in time")
        if self._error is not None:
            raise self._error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stops the tasks of this lease and returns once each is final. Raises Unreachable."""
        self._closed.set()
        if not self.lost:
            self._connection.send(calls.end_lease(self.id))

    def _hold(self) -> None:
        heard_s = time.monotonic()
        while not self._closed.is_set():
            try:
                for kind, data in self._connection.stream(calls.lease(self._id), SILENCE_S):
                    heard_s = time.monotonic()
                    if kind:
                        self._id = data["id"]
                        self._ready.set()
                    if self._closed.is_set():
                        return
            except NotFound as error:  # expired, or a coordinator that has no leases
                self._lose(error)
            except ClientError as error:
                if self._id is None or time.monotonic() - heard_s > SILENCE_S + 5:
                    self._lose(error)
            self._closed.wait(0.1)

    def _lose(self, error: ClientError) -> None:
        self._error = error
        self._closed.set()
        self._ready.set()
