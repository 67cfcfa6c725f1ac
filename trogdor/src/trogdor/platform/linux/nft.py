"""libnftables through ctypes: 0.1 to 0.4 ms a transaction, against 16 ms for an ``nft`` process.

Standard library only.
"""

import ctypes
import errno
import functools
import json
import os
import socket
import threading
from typing import Any

from trogdor.claim.model import CannotInject
from trogdor.claim.place import Place

_JSON = 1 << 4
"""NFT_CTX_OUTPUT_JSON."""


class NftError(OSError):
    """A transaction the kernel or the parser refused; nothing of it was carried out."""


@functools.cache
def library() -> ctypes.CDLL:
    """libnftables. Raises CannotInject with the package's name where it is missing."""
    try:
        lib = ctypes.CDLL("libnftables.so.1")
    except OSError:
        raise CannotInject(
            "libnftables.so.1 is missing: install libnftables1 (Debian, Ubuntu) or nftables (Fedora, Alpine, Arch)"
        ) from None
    context, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32
    for name, arguments, result in (
        ("nft_ctx_new", [number], context),
        ("nft_ctx_free", [context], None),
        ("nft_ctx_buffer_output", [context], ctypes.c_int),
        ("nft_ctx_buffer_error", [context], ctypes.c_int),
        ("nft_ctx_get_output_buffer", [context], text),
        ("nft_ctx_get_error_buffer", [context], text),
        ("nft_ctx_output_set_flags", [context, number], None),
        ("nft_run_cmd_from_buffer", [context, text], ctypes.c_int),
    ):
        function = getattr(lib, name)
        function.argtypes, function.restype = arguments, result
    return lib


class Nft:
    """One netlink socket to a place's nf_tables. A table made with ``flags owner`` lives as long as this does."""

    def __init__(self, place: Place, *, as_json: bool = False) -> None:
        self._lib = library()
        self._as_json = as_json
        self._lock = threading.RLock()
        with place.entered():
            before = _sockets()
            self._context = self._lib.nft_ctx_new(0)
            for fd in _sockets() - before:
                os.set_inheritable(fd, False)
        if not self._context:
            raise OSError(errno.ENOMEM, "libnftables gives no context")
        self._lib.nft_ctx_buffer_output(self._context)
        self._lib.nft_ctx_buffer_error(self._context)
        if as_json:
            self._lib.nft_ctx_output_set_flags(self._context, _JSON)

    def run(self, commands: str) -> str:
        """Carries the commands out as one transaction; answers what they print. Raises NftError."""
        with self._lock:
            code = self._lib.nft_run_cmd_from_buffer(self._context, commands.encode())
            error: bytes = self._lib.nft_ctx_get_error_buffer(self._context)
            output: bytes = self._lib.nft_ctx_get_output_buffer(self._context)
        if code != 0:
            said = error.decode(errors="replace").strip()
            known = next((number for text, number in _ERRORS.items() if text in said), errno.EINVAL)
            raise NftError(known, f"nft: {said.splitlines()[0] if said else 'refused'}")
        return output.decode()

    def objects(self, command: str) -> list[dict[str, Any]]:
        """What a ``list`` command of a context ``as_json`` prints, without its first line about versions."""
        text = self.run(command)
        return [each for each in json.loads(text)["nftables"] if "metainfo" not in each] if text else []

    def lines(self, command: str) -> list[str]:
        """What a ``list`` command prints in nft's own language, also of a context ``as_json``."""
        with self._lock:
            self._lib.nft_ctx_output_set_flags(self._context, 0)
            try:
                return self.run(command).splitlines()
            finally:
                self._lib.nft_ctx_output_set_flags(self._context, _JSON if self._as_json else 0)

    def close(self) -> None:
        """Closes the socket; tables owned by it are gone."""
        with self._lock:
            if self._context:
                self._lib.nft_ctx_free(self._context)
                self._context = None


_ERRORS = {
    os.strerror(number): number for number in (errno.ENOENT, errno.EPERM, errno.EOPNOTSUPP, errno.EEXIST, errno.EBUSY)
}


def _sockets() -> set[int]:
    """This process's netlink sockets; libnftables tells nobody which is its own."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:") and _family(int(name)) == socket.AF_NETLINK:
                found.add(int(name))
        except OSError:
            continue
    return found


def _family(fd: int) -> int:
    duplicate = socket.socket(fileno=os.dup(fd))
    try:
        return duplicate.family
    finally:
        duplicate.close()
