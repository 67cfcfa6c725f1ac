"""What Windows can do: its faults by spec class, its kinds of resources."""

from collections.abc import Mapping

from trogdor.platform.base import Fault
from trogdor.platform.windows import NEVER_RUN, network, process
from trogdor.platform.windows.kinds import KINDS
from trogdor.spec import Spec


class Windows:
    """The platform of Windows machines."""

    name = "windows"

    def __init__(self) -> None:
        self.faults: Mapping[type[Spec], Fault] = {fault.spec: fault for fault in (*network.FAULTS, *process.FAULTS)}
        self.kinds: Mapping[str, str] = KINDS

    def missing(self) -> Mapping[str, str]:
        """What this machine lacks, by name."""
        return {"windows": NEVER_RUN}


PLATFORM = Windows()
