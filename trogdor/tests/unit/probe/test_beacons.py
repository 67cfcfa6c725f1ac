"""The probe port by real sockets on loopback: who gets beacons, and who does not."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Any

import pytest

from trogdor.instant import NS_PER_MS, NS_PER_S, Clock
from trogdor.probe.beacons import Beacons, Mode, Stream

WAIT_S = 30.0


@pytest.fixture
async def two() -> AsyncIterator[tuple[Beacons, Beacons]]:
    ports = Beacons(Clock()), Beacons(Clock())
    for port in ports:
        port.open(nullcontext)
        port.start()
    yield ports
    for port in ports:
        port.close()


async def _until(holds: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await asyncio.sleep(0.005)


def _wanted(near: Beacons, far: Beacons, mode: Mode, address: str = "127.0.0.1", for_ns: int = 20 * NS_PER_S) -> Stream:
    now = Clock().boot_ns()
    return near.want(address, far.port, mode, [(now, now + for_ns)], now + for_ns)


@pytest.mark.parametrize("mode", ["udp", "udp-new", "tcp"])
async def test_beacons_come_numbered_and_with_the_time_they_came(two: tuple[Beacons, Beacons], mode: Mode) -> None:
    near, far = two
    began_ns = Clock().boot_ns()
    stream = _wanted(near, far, mode)
    near.ask(stream)
    await _until(lambda: len(stream.arrivals) >= 5)
    numbers = [arrival.number for arrival in stream.arrivals]
    assert sorted(numbers) == sorted(set(numbers))
    assert all(began_ns < a.at_ns + a.give_ns and a.at_ns - a.give_ns <= Clock().boot_ns() for a in stream.arrivals)


async def test_a_beacon_is_dated_by_the_kernel_and_not_by_when_we_came_to_it(two: tuple[Beacons, Beacons]) -> None:
    near, far = two
    stream = _wanted(near, far, "udp")
    near.ask(stream)
    await _until(lambda: len(stream.arrivals) >= 2)
    loop = asyncio.get_running_loop()
    for sock in near._udp.values():
        loop.remove_reader(sock)
    known = len(stream.arrivals)
    await asyncio.sleep(0.3)
    late_ns = Clock().boot_ns()
    near.drain()
    came = list(stream.arrivals)[known:]
    assert came
    assert min(arrival.at_ns for arrival in came) < late_ns - 100 * NS_PER_MS


async def test_a_stream_that_was_forgotten_ends(two: tuple[Beacons, Beacons]) -> None:
    near, far = two
    stream = _wanted(near, far, "udp")
    near.ask(stream)
    await _until(lambda: stream.arrivals)
    near.forget(stream)
    await _until(lambda: not far._sending)


async def test_nobody_is_sent_beacons_who_did_not_show_his_cookie(two: tuple[Beacons, Beacons]) -> None:
    """An address that is not the asker's own gets one small packet, and never a stream."""
    _, far = two
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
        victim.bind(("127.0.0.1", 0))
        victim.setblocking(False)
        ask = {"k": "ask", "id": "x", "c": "guess", "m": "udp", "p": 1, "d": [[0, 5000]], "u": 5000, "t": 0}
        victim.sendto(json.dumps(ask).encode(), ("127.0.0.1", far.port))
        loop = asyncio.get_running_loop()
        answer = json.loads(await asyncio.wait_for(loop.sock_recv(victim, 2000), WAIT_S))
        assert answer["k"] == "cookie"
        assert far._sending == {}
        assert len(json.dumps(answer)) < len(json.dumps(ask))


@pytest.mark.parametrize(
    "packet",
    [b"", b"{", b"[]", b"null", b"1", b"{}", b'{"k":"ask","id":1}', b'{"k":"b","id":[],"n":{}}', b"\xff" * 900,
     b'{"k":"ask","id":"x","c":"","m":"udp","p":"p","d":1,"u":null,"t":0}', b'{"k":"cookie","id":"x","t":"a","a":{}}'],
)  # fmt: skip
async def test_rubbish_is_ignored(two: tuple[Beacons, Beacons], packet: bytes) -> None:
    near, far = two
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(packet, ("127.0.0.1", far.port))
    with socket.create_connection(("127.0.0.1", far.port)) as stranger:
        stranger.sendall(packet or b"x")
    stream = _wanted(near, far, "udp")
    near.ask(stream)
    await _until(lambda: stream.arrivals)
