"""What Linux can do: its faults by spec class, its kinds of resources, and what this machine lacks for them."""

from collections.abc import Mapping
from functools import cached_property
from importlib import metadata

from trogdor.claim.model import CannotInject
from trogdor.platform.base import Fault
from trogdor.platform.linux import capabilities, nft
from trogdor.platform.linux.kinds import KINDS
from trogdor.spec import Spec

GROUP = "trogdor.platforms"
"""Entry points of users' own faults: objects with ``name``, ``faults`` and ``kinds`` as a Platform's."""


class Linux:
    """The platform of Linux machines and of namespaces on them, users' own faults for it included."""

    name = "linux"

    def __init__(self) -> None:
        self._others: dict[type[Spec], Fault] = {}
        self.kinds: Mapping[str, str] = KINDS
        self._broken: dict[str, str] = {}
        for point in metadata.entry_points(group=GROUP):
            try:
                self._add(point)
            except Exception as error:  # whatever a stranger's package raises, the agent starts and says so
                self._broken[point.name] = f"{point.value} cannot be used: {type(error).__name__}: {error}"

    @cached_property
    def faults(self) -> Mapping[type[Spec], Fault]:
        """Spec class → how it is carried out. The plans are imported when this is first asked for."""
        from trogdor.platform.linux import degraded, files, network, process

        ours = (*network.FAULTS, *degraded.FAULTS, *process.FAULTS, *files.FAULTS)
        return {**{fault.spec: fault for fault in ours}, **self._others}

    def _add(self, point: metadata.EntryPoint) -> None:
        other = point.load()
        if other.name != self.name:
            return
        taken = sorted({*other.kinds} & {*self.kinds})
        if taken:
            raise ValueError(f"there is a resource of kind {', '.join(taken)} already")
        self._others |= other.faults
        self.kinds = {**self.kinds, **other.kinds}

    def missing(self) -> Mapping[str, str]:
        """What this machine lacks, or this process may not do, by name, and what to do about it."""
        if "CAP_NET_ADMIN" in capabilities.lacking():
            why_not = "CAP_NET_ADMIN is missing: run the agent as root, or give it the capability"
            return {**dict.fromkeys(("nft", "qdisc", "queue"), why_not), **self._broken}
        try:
            nft.library()
        except CannotInject as why:
            return {"nft": str(why), **self._broken}
        return dict(self._broken)


PLATFORM = Linux()
