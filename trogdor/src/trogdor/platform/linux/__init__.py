"""Linux: plans and resources, one module a family, the kernel's bindings beside them.

``PLATFORM`` is made when it is asked for: the warden imports resources from here, and no plan with them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trogdor.platform.linux.faults import PLATFORM as PLATFORM


def __getattr__(name: str) -> Any:
    if name != "PLATFORM":
        raise AttributeError(name)
    from trogdor.platform.linux.faults import PLATFORM

    return PLATFORM
