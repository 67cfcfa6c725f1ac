"""A watch for tests of what is around one."""

import asyncio

from trogdor.probe.sight import SEEN, Sight


class SeesAtOnce:
    """A watch to which all is as it should be."""

    async def based(self, within_s: float) -> None:
        """Needs no look before."""

    async def seen(self, fired_ns: int) -> Sight:
        return Sight(SEEN, fired_ns)

    def looked_back(self, fired_ns: int, undone_ns: int) -> Sight:
        return Sight(SEEN, fired_ns)

    async def broken(self) -> str:
        await asyncio.Event().wait()
        return ""

    async def gone(self, undone_ns: int) -> Sight:
        return Sight(SEEN, undone_ns)

    def close(self) -> None:
        """Holds nothing."""
