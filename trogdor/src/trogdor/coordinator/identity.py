"""Who this coordinator is, across restarts: its name, the numbers it gives, whether it is frozen."""

import secrets
import uuid

from trogdor.coordinator.store import ABOUT, FORMAT, OLDER_FORMATS, TASKS, Store, StoreError

COUNTER_BITS = 32
PREFIX_BITS = 20
"""A worker's id is this store's prefix and a counter: below 2^53, which every JSON reader holds exactly."""
RESERVED = 1 << 16
"""Ids are reserved on disk in blocks of this many, so that none is given twice."""


class Identity:
    """Loaded from the store once it is open."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.name = ""
        """What agents know this coordinator by."""
        self.frozen = False
        self._prefix = 0
        self._worker = 0
        self._reserved = 0
        self._task = 0

    async def load(self) -> None:
        """Takes up where the last coordinator with this store ended. Raises StoreError."""
        about = {row["key"]: row["value"] for row in await self._store.read(f"SELECT * FROM {ABOUT.name}")}
        if (found := about.get("format", FORMAT)) not in (*OLDER_FORMATS, FORMAT):
            raise StoreError(f"the store has format {found}, this version reads {', '.join((*OLDER_FORMATS, FORMAT))}")
        about["format"] = FORMAT
        self.name = about.setdefault("name", str(uuid.uuid4()))
        self._prefix = int(about.setdefault("prefix", str(secrets.randbelow((1 << PREFIX_BITS) - 1) + 1)))
        self.frozen = about.get("frozen") == "true"
        self._worker = self._reserved = int(about.get("reserved", "0"))
        newest = await self._store.read(f"SELECT MAX(seq) AS seq FROM {TASKS.name}")
        self._task = newest[0]["seq"] or 0
        for key, value in about.items():
            self._keep(key, value)
        await self._store.flush()

    def _keep(self, key: str, value: str) -> None:
        self._store.put(ABOUT, (key, value))

    def next_task(self) -> int:
        """A number for a task's record."""
        self._task += 1
        return self._task

    def next_worker(self) -> int:
        """An id for a worker, never given before by this store."""
        if self._worker >= self._reserved:
            self._reserved = self._worker + RESERVED
            self._keep("reserved", str(self._reserved))
        self._worker += 1
        return self._prefix << COUNTER_BITS | self._worker

    def issued(self, worker_id: int) -> bool:
        """Whether this store gave that id."""
        return worker_id >> COUNTER_BITS == self._prefix

    async def freeze(self, frozen: bool) -> None:
        """Refuses new faults from now on, or no longer; on disk when this returns."""
        self.frozen = frozen
        self._keep("frozen", "true" if frozen else "false")
        await self._store.flush()
