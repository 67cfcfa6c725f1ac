"""What Linux can do: its faults by spec class, its kinds of resources, and what this machine lacks for them."""

from collections.abc import Mapping

from trogdor.claim.model import CannotInject
from trogdor.platform.base import Fault
from trogdor.platform.linux import degraded, network, nft, process
from trogdor.platform.linux.kinds import KINDS
from trogdor.spec import Spec


class Linux:
    """The platform of Linux machines and of namespaces on them."""

    name = "linux"
    faults: Mapping[type[Spec], Fault] = {
        fault.spec: fault for fault in (*network.FAULTS, *degraded.FAULTS, *process.FAULTS)
    }
    kinds: Mapping[str, str] = KINDS

    def missing(self) -> Mapping[str, str]:
        """What this machine lacks, by name, and where to get it."""
        try:
            nft.library()
        except CannotInject as why:
            return {"nft": str(why)}
        return {}


PLATFORM = Linux()
