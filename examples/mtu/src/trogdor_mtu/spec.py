from typing import Any, ClassVar

from pydantic import Field, StrictInt, StrictStr

from trogdor.spec.base import Spec, require_known
from trogdor.topology import Topology


class SmallPacketsFaultSpec(Spec, name="com.example.SmallPacketsFaultSpec"):
    """Lets a network device send only small packets: what is larger is broken up, or lost."""

    example: ClassVar[dict[str, Any]] = {"nodeNames": ["n1"], "device": "eth0", "mtu": 1280}

    node_names: tuple[StrictStr, ...] = Field(description="The nodes on which to do it.")
    device: StrictStr = Field(description="The device, such as eth0.")
    mtu: StrictInt = Field(ge=1280, le=65535, description="The largest packet it sends, in bytes (IPv6 needs 1280).")

    def target_nodes(self, topology: Topology) -> list[str]:
        return require_known(list(self.node_names), topology)
