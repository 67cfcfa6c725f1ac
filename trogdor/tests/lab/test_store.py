"""What a coordinator's store keeps, on SQLite and on a real PostgreSQL; and that one coordinator at a time leads it."""

import asyncio
import itertools
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.postgresql import needs_postgresql, start_server, url_from_outside
from lab.waiting import python_path, wait_until
from trogdor.client import Client, ClientError
from trogdor.coordinator.daemon import STORE
from trogdor.coordinator.store import ABOUT, EVENTS, RowsRefused, Store, StoreError
from trogdor.lab import Lab
from trogdor.lab.node import Node, NodeProcess
from unit.coordinator.conftest import Cluster
from unit.coordinator.test_composites import test_a_composite_goes_on_after_a_restart_where_it_was as composites_survive
from unit.coordinator.test_tasks import (
    test_a_destroyed_task_is_gone_at_once_and_from_the_store_once_acknowledged as gone,
)
from unit.coordinator.test_tasks import test_frozen_is_frozen_also_after_a_restart as frozen_survives
from unit.coordinator.test_tasks import test_shutdown_ends_what_runs_and_keeps_what_waits as shutdown_keeps
from unit.coordinator.test_tasks import test_tasks_survive_the_coordinator as tasks_survive

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("store")]

FAR_MS = 4102444800000
TOO_LARGE = 2**70
numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Node]:
    with Lab(nodes=3) as lab:
        start_server(lab.node("n1"))
        yield lab.node("n1")


def execute(url: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as session:
        session.execute(statement)


def new_database(server: Node) -> str:
    """The URL of an empty database, as seen from outside the lab."""
    name = f"store{next(numbers)}"
    execute(url_from_outside(server), f"CREATE DATABASE {name}")
    return url_from_outside(server, name)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgresql)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    return new_database(request.getfixturevalue("server"))


async def opened(url: str) -> Store:
    store = Store(url)
    await store.open()
    return store


async def rows(store: Store) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in await store.read(f"SELECT * FROM {EVENTS.name} ORDER BY seq")]


async def test_what_was_put_is_there_again(url: str) -> None:
    store = await opened(url)
    store.put(EVENTS, (1, "first"))
    store.put(EVENTS, (2, "second"))
    store.put(EVENTS, (1, "first again: 'ä?%s'"))
    await store.delete(EVENTS, 2)
    await store.put(EVENTS, (3, "third"))
    await store.prune_events(3)
    store.put(EVENTS, (4, "fourth"))
    await store.close()
    store = await opened(url)
    assert await rows(store) == [(3, "third"), (4, "fourth")]
    await store.close()


async def test_what_is_pruned_and_read_meanwhile_disturbs_no_change(url: str) -> None:
    store = await opened(url)
    waits: list[asyncio.Future[Any]] = []
    for number in range(1, 3001):
        waits.append(store.put(EVENTS, (number, "event")))
        if number % 3 == 0:
            waits.append(store.prune_events(number - 100))
            waits.append(asyncio.ensure_future(store.read(f"SELECT * FROM {EVENTS.name}")))
            await asyncio.sleep(0)
    await asyncio.gather(*waits)
    assert [row[0] for row in await rows(store)] == [*range(2900, 3001)]
    await store.close()


async def test_a_row_that_cannot_be_written_fails_itself_and_no_other(url: str) -> None:
    store = await opened(url)
    store.put(EVENTS, (1, "before"))
    bad = store.put(EVENTS, (2, None))
    store.put(EVENTS, (3, "beside"))
    store.put(EVENTS, (TOO_LARGE, "another"))
    with pytest.raises(RowsRefused, match="refuses 2 rows: events 2: ") as refused:
        await bad
    assert refused.value.rows == {(EVENTS, 2), (EVENTS, TOO_LARGE)}
    await store.put(EVENTS, (4, "after"))
    await store.close()
    store = await opened(url)
    assert await rows(store) == [(1, "before"), (3, "beside"), (4, "after")]
    await store.close()


async def test_who_gives_up_waiting_for_a_commit_takes_it_from_nobody(url: str) -> None:
    async def wait(done: asyncio.Future[None]) -> None:
        await done

    store = await opened(url)
    done = store.put(EVENTS, (1, "kept"))
    one, other = asyncio.create_task(wait(done)), asyncio.create_task(wait(done))
    await asyncio.sleep(0)
    one.cancel()
    await other
    with pytest.raises(asyncio.CancelledError):
        await one
    assert await rows(store) == [(1, "kept")]
    await store.close()


@needs_postgresql
async def test_a_password_is_not_shown_and_a_server_that_is_away_is_named() -> None:
    store = Store("postgresql://trogdor:secret@127.0.0.1:1/trogdor")
    with pytest.raises(
        StoreError, match=r"postgresql://trogdor:\*\*\*@127\.0\.0\.1:1/trogdor cannot be opened"
    ) as told:
        await store.open()
    assert "secret" not in str(told.value)


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(StoreError, match="sqlite:///PATH and postgresql://"):
        Store("mysql://root:secret@somewhere/trogdor")


@needs_postgresql
async def test_a_session_that_was_ended_is_opened_again_and_nothing_is_lost(server: Node) -> None:
    url = new_database(server)
    store = await opened(url)
    await store.put(EVENTS, (1, "before"))
    execute(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    await store.put(EVENTS, (2, "after"))
    assert await rows(store) == [(1, "before"), (2, "after")]
    await store.close()


@needs_postgresql
async def test_a_coordinator_that_has_lost_its_lead_writes_nothing_and_is_told_so(server: Node) -> None:
    url = new_database(server)
    first = await opened(url)
    told: list[StoreError] = []
    first.on_lead_lost = told.append
    await first.put(ABOUT, ("leader", "first"))
    with pytest.raises(StoreError, match="led by another coordinator"):
        await opened(url)
    execute(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    second = await opened(url)
    await second.put(ABOUT, ("leader", "second"))
    with pytest.raises(StoreError, match="led by another coordinator"):
        await first.put(ABOUT, ("leader", "first again"))
    assert len(told) == 1
    assert await second.read(f"SELECT value FROM {ABOUT.name}") == [{"value": "second"}]
    await second.close()
    await first.close()


@pytest.fixture
async def pair(server: Node, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Two nodes, met, by a coordinator whose store is on PostgreSQL."""
    made = Cluster(tmp_path / "c", {STORE: new_database(server)})
    await made.add("node0", "node1")
    await made.start()
    await made.met()
    yield made
    await made.client.close()
    if made.coordinator:
        await made.coordinator.stop()
    for agent in made.agents.values():
        await agent.kill()


@needs_postgresql
@pytest.mark.parametrize(
    "survives",
    [tasks_survive, composites_survive, frozen_survives, shutdown_keeps, gone],
    ids=lambda each: each.__name__,
)
async def test_on_postgresql_as_on_sqlite(pair: Cluster, survives: Any) -> None:
    await survives(pair)


def start_coordinator(node: Node, url: str) -> NodeProcess:
    nodes = {"n3": {"hostname": "n3", "trogdor.agent.port": 8888}}
    nodes[node.name] = nodes.get(node.name, {}) | {"hostname": node.name, "trogdor.coordinator.port": 8889, STORE: url}
    node.path("/mnt/trogdor.json").write_text(json.dumps({"nodes": nodes}))
    command = [sys.executable, "-m", "trogdor", "coordinator", "-c", "/mnt/trogdor.json", "-n", node.name]
    return node.popen([*command, "--state", "/mnt"], log="standby", env={"PYTHONPATH": python_path()})


def tasks_of(node: Node) -> dict[str, Any] | None:
    try:
        return Client(f"unix:{node.path(f'/mnt/{node.name}/coordinator.sock')}").tasks()
    except ClientError:
        return None


@needs_postgresql
def test_a_standby_takes_over_when_the_leader_is_killed() -> None:
    with Lab(nodes=3) as lab:
        database, leader, standby = (lab.node(name) for name in ("n1", "n2", "n3"))
        start_server(database)
        url = "postgresql://postgres@n1/postgres"
        leading = start_coordinator(leader, url)
        wait_until(lambda: tasks_of(leader) is not None, 60)
        task = {"class": "NoOpTaskSpec", "startMs": FAR_MS}
        Client(f"unix:{leader.path('/mnt/n2/coordinator.sock')}").create_task("t", task, check=False)
        refused = start_coordinator(standby, url)
        assert refused.wait(60) == 6
        assert "led by another coordinator" in standby.log("standby")
        leading.send_signal(signal.SIGKILL)
        leading.wait(30)
        taking_over = start_coordinator(standby, url)
        wait_until(lambda: list(tasks_of(standby) or ()) == ["t"], 60)
        taking_over.send_signal(signal.SIGTERM)
        taking_over.wait(30)
