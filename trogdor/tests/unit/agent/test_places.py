"""Places that are left: a container started again is a new one, entered once the old one's faults have ended."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from trogdor.agent.place import AgentPlace, Places
from trogdor.claim import ledger
from trogdor.claim.ledger import Ledger
from trogdor.claim.place import Place
from trogdor.instant import Clock
from trogdor.probe.eyes import Eyes
from trogdor.topology import Node, topology_of
from unit.claim.toy import KINDS, claim

NODES = topology_of(
    {"nodes": {"host": {"hostname": "127.0.0.1"}, "c1": {"hostname": "127.0.0.1", "place": {"container": "c1"}}}}
).nodes


class Container:
    """What runs in it: a process that can be started again."""

    def __init__(self) -> None:
        self.entered = 0
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(["sleep", "3600"])

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def start_again(self) -> None:
        self.process = self._start()


@pytest.fixture
def container() -> Iterator[Container]:
    started = Container()
    yield started
    started.end()


@pytest_asyncio.fixture
async def places(tmp_path: Path, container: Container) -> AsyncIterator[Places]:
    def enter(node: Node) -> AgentPlace:
        container.entered += 1
        place = Place.here() if node.place.is_here else Place.of_process(container.process.pid)
        ledger = Ledger.open(tmp_path, node.name, KINDS, place=place)
        return AgentPlace(node, place, ledger, Eyes(node.name, Clock(), place.entered), tmp_path / node.name)

    found = Places(enter, enter(NODES["host"]), NODES)
    yield found
    for each in found.open.values():
        each.ledger.close()
        each.eyes.close()


async def test_a_place_is_entered_once(places: Places) -> None:
    assert await places.find("c1") is await places.find("c1")
    assert await places.find("") is places.own


async def test_who_waits_for_a_place_may_go_without_it_being_entered_twice(
    places: Places, container: Container
) -> None:
    before = container.entered
    first, second = (asyncio.create_task(places.find("c1")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await places.find("c1") is await second
    assert container.entered == before + 1


async def test_a_place_whose_journal_another_holds_is_told_so(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "LOCKED_S", 0.05)
    holder = Ledger.open(tmp_path, "c1", KINDS)
    with pytest.raises(OSError, match="c1"):
        await places.find("c1")
    holder.close()
    assert (await places.find("c1")).node.name == "c1"


async def test_the_successor_of_a_place_is_entered(places: Places, container: Container) -> None:
    old = await places.find("c1")
    container.end()
    with pytest.raises(ProcessLookupError):
        await places.find("c1")
    container.start_again()
    new = await places.find("c1")
    assert new.place.root_pid == container.process.pid
    assert new.ledger.epoch == old.ledger.epoch + 1


async def test_a_place_is_not_left_while_faults_are_claimed_of_it(places: Places, container: Container) -> None:
    old = await places.find("c1")
    wanted = claim(1, "on")
    old.ledger.admit([wanted])
    container.end()
    container.start_again()
    with pytest.raises(OSError, match="its faults end first"):
        await places.find("c1")
    old.ledger.release([wanted.id], "stop")
    assert (await places.find("c1")).place.root_pid == container.process.pid
