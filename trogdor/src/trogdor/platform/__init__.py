"""What a machine can do to itself: a platform is plans and resources; nothing above knows which one it is on."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trogdor.platform.base import Platform


def here() -> "Platform":
    """The platform of this machine."""
    if sys.platform == "win32":
        from trogdor.platform.windows.faults import PLATFORM as WINDOWS

        return WINDOWS
    from trogdor.platform.linux import PLATFORM

    return PLATFORM
