import errno
import fcntl
import socket
import struct
from collections.abc import Mapping, Sequence

from trogdor.claim.model import Claim, Json, Trouble
from trogdor.claim.resource import Resource

SIOCGIFMTU, SIOCSIFMTU = 0x8921, 0x8922


class Mtu(Resource):
    """The largest packet of a network device, in bytes; the key is the device's name. The smallest claim wins."""

    kind = "mtu"
    undone_by = "the warden, or else the next agent, sets the device's MTU to what it was before"
    scope = "net"

    def base(self, key: str) -> Json:
        return self.observe(key)

    def apply(self, claims: Sequence[Claim], bases: Mapping[str, Json], now_ns: int) -> Mapping[str, Trouble]:
        troubles = {}
        for device, base in bases.items():
            mtu = self.fold(base, [claim.want for claim in claims if claim.key == device])
            try:
                self._ask(SIOCSIFMTU, device, mtu or 0)
            except OSError as error:
                gone = error.errno == errno.ENODEV
                troubles[device] = Trouble("gone" if gone else "failed", error.strerror or str(error))
        return troubles

    @staticmethod
    def fold(base: Json, wants: Sequence[Json]) -> Json:
        return min(wants, default=base)

    def observe(self, key: str) -> Json:
        try:
            return self._ask(SIOCGIFMTU, key)
        except OSError:
            return None

    def commands(self, key: str, base: Json) -> Sequence[str]:
        return (f"ip link set dev {key} mtu {base}",)

    def _ask(self, request: int, device: str, mtu: int = 0) -> int:
        with self.place.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
            answer = fcntl.ioctl(door, request, struct.pack("16si12x", device.encode(), mtu))
            return int(struct.unpack("16si12x", answer)[1])
