"""A real browser on a lab's live page: Debian's Chromium, through a door from loopback to the coordinator's socket."""

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def artefacts() -> Path:
    """Where screenshots are kept: ``$TROGDOR_ARTEFACTS``, else below the repository's ``build``."""
    path = Path(os.environ.get("TROGDOR_ARTEFACTS") or Path(__file__).parents[3] / "build" / "screenshots")
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def browser() -> Iterator[Any]:
    """A browser while the block runs."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def door(unix_path: Path) -> Iterator[str]:
    """An address on loopback that leads to a Unix socket, while the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept, args=(server, str(unix_path)), daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def _accept(server: socket.socket, unix_path: str) -> None:
    with suppress(OSError):
        while True:
            outside, _ = server.accept()
            inside = socket.socket(socket.AF_UNIX)
            inside.connect(unix_path)
            for source, sink in ((outside, inside), (inside, outside)):
                threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(chunk)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
