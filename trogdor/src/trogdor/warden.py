"""The warden: a small process that ends an agent which hangs or is late, and undoes what a dead one left.

It stands on the standard library alone, and loads only the resources that a journal names once it has to undo it. The
agent's end is ``Warden``, which starts the process; ``python -m trogdor.warden`` is not for users.
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trogdor.claim.books import Books
from trogdor.claim.journal import Journal, JournalLocked, JournalUnreadable, Lock, read
from trogdor.claim.model import CannotInject, why
from trogdor.claim.place import Place
from trogdor.claim.points import reached
from trogdor.claim.settle import Site, settle

if TYPE_CHECKING:
    from trogdor.claim.ledger import Ledger

MS = 1_000_000
HEARTBEAT_NS = 500 * MS
"""How often the agent is heard."""
SILENCE_NS = 2_000 * MS
"""How late a heartbeat may be while claims are live."""
LATENESS_NS = 400 * MS
"""How long after a claim's end its undoing must have been written."""
OWN_LATENESS_NS = 200 * MS
"""Woken later than this, the warden judges nobody for a while: the machine was busy or suspended."""
PATIENCE_S = 30
"""How long the warden tries to undo a journal."""

_BOOT = (
    "import sys,json;sys.path[:]=json.loads(sys.argv[2]);from trogdor.warden import main;main(json.loads(sys.argv[1]))"
)


class Warden:
    """The agent's end: starts the warden and tells it of ledgers, of their changes, and that the agent lives.

    Make it before the event loop and before threads; hand it to ``Ledger.open`` as ``watcher``.
    """

    def __init__(self) -> None:
        self._ledgers: list[Ledger] = []
        self._lock = threading.Lock()
        self._untold = False
        """Claims were added while the warden was too busy to be told."""
        self._socket, self.pid = self._start()

    def _start(self) -> tuple[socket.socket, int]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        agent = os.pidfd_open(os.getpid())
        ours.setblocking(False)
        try:
            fds = {"socket": theirs.fileno(), "agent": agent}
            for fd in fds.values():
                os.set_inheritable(fd, True)
            arguments = [sys.executable, "-S", "-E", "-s", "-c", _BOOT, json.dumps(fds), json.dumps(sys.path)]
            pid = os.posix_spawn(
                sys.executable, arguments, _quiet(os.environ), setsid=True, setsigdef=[signal.SIGPIPE, signal.SIGTERM]
            )
        finally:
            os.close(agent)
            theirs.close()
        return ours, pid

    def watch(self, ledger: "Ledger") -> None:
        """From now on this ledger's journal is undone when the agent dies, hangs or is late."""
        with self._lock:
            self._ledgers.append(ledger)
            self._tell_of(ledger)

    def _tell_of(self, ledger: "Ledger") -> None:
        site = ledger.site
        place = {"net": site.place.net, "pid": site.place.pid, "root_pid": site.place.root_pid}
        message = {"watch": str(site.directory), "node": site.node, "epoch": ledger.epoch, "kinds": dict(site.kinds)}
        self._send(message | {"place": place}, [] if site.place.net_fd is None else [site.place.net_fd])

    def forget(self, ledger: "Ledger") -> None:
        """This ledger is closed: there is nothing to undo."""
        with self._lock, contextlib.suppress(OSError):
            self._ledgers.remove(ledger)
            self._send({"forget": str(ledger.site.directory), "epoch": ledger.epoch})

    def changed(self) -> None:
        """Claims were added. Raises CannotInject when there is no warden and none can be started."""
        with self._lock:
            try:
                self._send({"changed": True})
            except BlockingIOError:
                self._untold = True
            except OSError:
                self._restart()

    def heartbeat(self) -> None:
        """The agent is alive. A warden that is not is started again, by a thread of its own."""
        now_ns = self._ledgers[0].site.clock() if self._ledgers else 0
        message: dict[str, Any] = {"changed": True} if self._untold else {"alive": now_ns}
        try:
            self._send(message)
            if "changed" in message:
                self._untold = False
        except BlockingIOError:
            pass
        except OSError:
            threading.Thread(target=self._restart_later, name="warden-restart", daemon=True).start()

    def _restart_later(self) -> None:
        with contextlib.suppress(CannotInject):
            self.changed()

    def _restart(self) -> None:
        self._socket.close()
        self._reap()
        try:
            self._socket, self.pid = self._start()
            for ledger in self._ledgers:
                self._tell_of(ledger)
        except OSError as error:
            raise CannotInject(f"the warden died and cannot be started again: {error}") from None

    def _send(self, message: Mapping[str, Any], fds: list[int] | None = None) -> None:
        socket.send_fds(self._socket, [json.dumps(message).encode()], fds or [])

    def close(self) -> None:
        """Lets the warden go; every ledger is closed by now."""
        with self._lock, contextlib.suppress(OSError):
            self._send({"bye": True})
            self._socket.setblocking(True)
            self._socket.settimeout(5)
            self._socket.recv(1)
        self._socket.close()
        self._reap()

    def _reap(self) -> None:
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def _quiet(environment: Mapping[str, str]) -> dict[str, str]:
    """One malloc arena and no byte code written: the warden is small."""
    return {**environment, "MALLOC_ARENA_MAX": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass
class _Watched:
    site: Site
    epoch: int
    ends_ns: int | None = None
    """When the first of its claims ends, by the agent's clock; None: there is none to be late with."""
    said: str = ""

    def say_once(self, text: str) -> None:
        """Says what is tried again and again only when it is news."""
        if text != self.said:
            _say(text)
        self.said = text

    def look(self, now_ns: int) -> None:
        """Reads the journal again, ``now_ns`` by the agent's clock; a moment later if it is being rewritten.

        A claim that was never fired and whose time is over never will be.
        """
        for _ in range(20):
            try:
                books = Books(read(self.site.directory)[1])
            except (JournalUnreadable, OSError, ValueError):
                time.sleep(0.01)
                continue
            ends = [
                claim.term.end_ns
                for claim in books.claims.values()
                if claim.id not in books.inherited
                and (claim.id in books.fired or now_ns <= claim.term.end_ns + LATENESS_NS)
            ]
            self.ends_ns = min(ends, default=None) if books.epoch == self.epoch else None
            return


class _Watch:
    """The warden's own side."""

    def __init__(self, talk: socket.socket, agent: int) -> None:
        self._talk = talk
        self._agent = agent
        self._watched: list[_Watched] = []
        self._heard_ns = self._judging_from_ns = _now_ns()
        self._clock_ns = 0
        """What to add to our clock to get the agent's."""

    def run(self) -> None:
        """Until the agent says goodbye, or had to be ended."""
        poll = select.poll()
        poll.register(self._talk, select.POLLIN)
        while True:
            wait_ns = self._until_next_check()
            began_ns = _now_ns()
            ready = poll.poll(None if wait_ns is None else wait_ns / MS + 1)
            if wait_ns is not None and _now_ns() - began_ns > wait_ns + OWN_LATENESS_NS:
                self._be_patient()
            if ready and not self._hear():
                return
            if not ready and self._has_failed():
                self._end_it()
                return

    def _until_next_check(self) -> int | None:
        """How long to wait for a message before the agent is judged; None: nothing is claimed."""
        ends = [each.ends_ns for each in self._watched if each.ends_ns is not None]
        if not ends:
            return None
        dues = [self._heard_ns + HEARTBEAT_NS + SILENCE_NS, min(ends) - self._clock_ns + LATENESS_NS]
        return max(MS, max(min(dues), self._judging_from_ns) - _now_ns())

    def _be_patient(self) -> None:
        self._heard_ns = _now_ns()
        self._judging_from_ns = self._heard_ns + LATENESS_NS

    def _hear(self) -> bool:
        """Takes one message. False: the watch is over."""
        try:
            data, fds, _, _ = socket.recv_fds(self._talk, 1 << 16, 1)
        except OSError:
            data, fds = b"", []
        if not data:
            self._end_it()
            return False
        message = json.loads(data)
        self._heard_ns = _now_ns()
        if "bye" in message:
            return False
        if "watch" in message:
            self._watched.append(_watched(message, fds))
        if "forget" in message:
            self._forget(Path(message["forget"]), message["epoch"])
        if message.get("alive"):
            self._clock_ns = message["alive"] - self._heard_ns
        else:
            for each in self._watched:
                each.look(self._heard_ns + self._clock_ns)
        return True

    def _forget(self, directory: Path, epoch: int) -> None:
        for each in [each for each in self._watched if (each.site.directory, each.epoch) == (directory, epoch)]:
            self._watched.remove(each)
            each.site.place.close()

    def _has_failed(self) -> bool:
        """Whether the agent hangs, or a claim is past its end and no record says that it was undone."""
        now_ns = _now_ns()
        if now_ns < self._judging_from_ns:
            return False
        for each in self._watched:
            each.look(now_ns + self._clock_ns)
        ends = [each.ends_ns - self._clock_ns for each in self._watched if each.ends_ns is not None]
        if not ends:
            return False
        if now_ns - self._heard_ns > HEARTBEAT_NS + SILENCE_NS:
            _say("the agent has not been heard of for 2 s")
            return True
        if min(ends) + LATENESS_NS < now_ns:
            _say("a claim is 400 ms past its end and was not undone")
            return True
        return False

    def _end_it(self) -> None:
        """Ends the agent, so that nothing fires again, and undoes what it had claimed."""
        reached("warden:kill.before")
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._agent, signal.SIGKILL)
        select.select([self._agent], [], [], PATIENCE_S)
        reached("warden:killed")
        until = time.monotonic() + PATIENCE_S
        left = list(self._watched)
        while left and time.monotonic() < until:
            left = [each for each in left if not _undone(each)]
            if left:
                time.sleep(0.02)


def _watched(message: Mapping[str, Any], fds: list[int]) -> _Watched:
    place = Place(net_fd=fds[0] if fds else None, **message["place"])
    site = Site(Path(message["watch"]), message["node"], message["kinds"], place, _now_ns)
    return _Watched(site, message["epoch"])


def _undone(watched: _Watched) -> bool:
    """Whether nothing is left to do: all is undone, or another agent holds the journal by now and has undone it.

    Never raises: other journals are to be undone too.
    """
    directory = watched.site.directory
    try:
        if Books(read(directory)[1]).epoch != watched.epoch:
            return True
        lock = Lock(directory)
        try:
            return _undo(watched)
        finally:
            lock.release()
    except JournalLocked:
        return False
    except JournalUnreadable as error:
        _say(str(error))
        return True
    except Exception as error:
        watched.say_once(f"{directory}: {why(error)}")
        return False


def _undo(watched: _Watched) -> bool:
    with contextlib.closing(Journal(watched.site.directory)) as journal:
        books = Books(journal.records)
        if books.epoch != watched.epoch or books.is_empty:
            return True
        ended, left = settle(journal, watched.site, by="warden")
    undone = f"undid {len(books.claims) - len(ended.claims)} of {len(books.claims)} claims in {watched.site.directory}"
    watched.say_once("; ".join([undone, *left]))
    return ended.is_empty


def _now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _say(text: str) -> None:
    print(f"trogdor warden: {text}", file=sys.stderr, flush=True)


def _close_all_but(kept: set[int]) -> None:
    """The agent's pipes and listeners are not to stay open because the warden lives."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))


def main(fds: Mapping[str, int]) -> None:
    """The warden's process. ``fds``: its end of the socket, and a pidfd of the agent."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for fd in fds.values():
        os.set_inheritable(fd, False)
    _close_all_but({0, 1, 2, *fds.values()})
    _Watch(socket.socket(fileno=fds["socket"]), fds["agent"]).run()
    os._exit(0)
