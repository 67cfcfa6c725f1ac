"""The pytest plugin: fixtures ``lab``, ``fault``, ``kibosh``, ``trogdor_client``; options ``--trogdor…``.

    @pytest.mark.lab(nodes=3, recipe="etcd")
    def test_leader_cut_off(lab, fault): ...

A lab is shared by the tests of a session that ask for the same nodes and recipe; each test begins with a check that no
fault is left from another one, and a lab that is not clean is replaced.
"""

import json
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest

from trogdor.client import Client, ClientError
from trogdor.lab import LabError
from trogdor.testing.cluster import Cluster, OwnLab, leftovers
from trogdor.testing.disks import Disk, mounted
from trogdor.testing.faults import Faults
from trogdor.testing.recovery import Story, current

STORY = pytest.StashKey[Story]()
CLUSTER = pytest.StashKey[Cluster]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plugin's options."""
    group = parser.getgroup("trogdor", "faults on real nodes")
    group.addoption("--trogdor", metavar="HOST:PORT", help="run on the user's own cluster, by its coordinator")
    group.addoption(
        "--trogdor-require", action="store_true", help="fail where a lab cannot be had, instead of skipping"
    )
    group.addoption("--trogdor-artifacts", metavar="DIR", help="keep logs, events and specs of failed tests here")
    group.addoption(
        "--trogdor-keep", action="store_true", help="leave the lab of a failed test up, and say how to enter it"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker and the keeper of labs."""
    config.addinivalue_line("markers", "lab(nodes=3, recipe=None): the lab that this test wants")
    config.stash[LABS] = Labs(config)
    config.pluginmanager.register(config.stash[LABS], "trogdor-labs")


class Labs:
    """The labs of this session, one for each (nodes, recipe) that tests ask for."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._labs: dict[tuple[int, str | None], OwnLab] = {}
        self._own: Cluster | None = None

    def cluster(self, nodes: int, recipe: str | None) -> Cluster:
        """A clean cluster; one that holds somebody's leftovers is replaced. Skips or fails where there can be none."""
        if target := self._config.getoption("--trogdor"):
            return self._users_own(target)
        lab = self._labs.get((nodes, recipe))
        if lab is not None and (left := _unclean(lab.cluster)):
            warnings.warn(pytest.PytestWarning(f"the lab is replaced: {left}"), stacklevel=2)
            self._labs.pop((nodes, recipe)).__exit__(None, None, None)
            lab = None
        if lab is None:
            try:
                kept = bool(self._config.getoption("--trogdor-keep"))
                lab = self._labs[nodes, recipe] = OwnLab(nodes, recipe, outlives=kept).__enter__()
            except LabError as error:
                _cannot(self._config, f"no lab here: {error}")
        return lab.cluster

    def _users_own(self, target: str) -> Cluster:
        if self._own is None:
            client = Client(target)
            self._own = Cluster(client, None, list(client.nodes()))
        if left := _unclean(self._own):
            pytest.fail(f"the cluster at {target} is not clean, end these first (`trogdor heal`): {left}")
        return self._own

    def keep(self, cluster: Cluster) -> str:
        """Leaves the cluster's lab up; says how to enter it."""
        for wanted, lab in list(self._labs.items()):
            if lab.cluster is cluster and cluster.lab:
                self._labs.pop(wanted).keep()
                return f"the lab is up: trogdor lab shell {cluster.names[0]} --name {cluster.lab.name}"
        return ""

    def pytest_sessionfinish(self) -> None:
        """Ends every lab."""
        while self._labs:
            self._labs.popitem()[1].__exit__(None, None, None)
        if self._own:
            self._own.client.close()


def _unclean(cluster: Cluster) -> str:
    try:
        return "; ".join(leftovers(cluster))
    except ClientError as error:
        return str(error)


LABS = pytest.StashKey[Labs]()


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Cluster:
    """The cluster that the test's ``@pytest.mark.lab(nodes=…, recipe=…)`` asks for: three bare nodes without one."""
    marker = request.node.get_closest_marker("lab")
    try:
        nodes, recipe = _wanted(*marker.args, **marker.kwargs) if marker else _wanted()
        cluster = request.config.stash[LABS].cluster(nodes, recipe)
    except (TypeError, ValueError) as error:
        pytest.fail(f"@pytest.mark.lab(nodes=3, recipe=None): {str(error).removeprefix('_wanted() ')}")
    request.node.stash[CLUSTER] = cluster
    return cluster


def _wanted(nodes: int = 3, recipe: str | None = None) -> tuple[int, str | None]:
    return nodes, recipe


@pytest.fixture
def trogdor_client(lab: Cluster) -> Client:
    """The client of the cluster's coordinator."""
    return lab.client


@pytest.fixture
def fault(request: pytest.FixtureRequest, lab: Cluster) -> Iterator[Faults]:
    """Faults on the cluster; those that the test leaves behind are ended."""
    story = Story(clock_offset_ms=_offset_ms(lab.client))
    request.node.stash[STORY] = story
    token = current.set(story)
    try:
        yield Faults(lab.client, lab.names, story)
    finally:
        current.reset(token)
        with ExitStack() as stopping:
            for injection in story.injections:
                stopping.callback(injection.stop)
        for injection in story.injections:
            if not injection.entered:
                warnings.warn(
                    pytest.PytestWarning(f"{injection}: made and never entered, `with` does that"), stacklevel=2
                )


@pytest.fixture
def kibosh(request: pytest.FixtureRequest, lab: Cluster) -> Iterator[Callable[[str, str], Disk]]:
    """``kibosh("n1", "/mnt/data")``: a directory of a node whose disk can fail (``fault.disk``); ends with the test."""
    if lab.lab is None:
        pytest.skip("the disks of your own cluster are yours to mount: kibosh MOUNTPOINT --target DIR")
    nodes = lab.lab.nodes
    with ExitStack() as stack:

        def mount(node: str, path: str) -> Disk:
            try:
                if node not in nodes:
                    raise ValueError(f"there is no node {node!r}; there are {', '.join(nodes)}")
                return stack.enter_context(mounted(nodes[node], path))
            except LabError as error:
                _cannot(request.config, f"no Kibosh here: {error}")

        yield mount


def _cannot(config: pytest.Config, reason: str) -> NoReturn:
    """Skips the test, or fails it where the environment is required."""
    (pytest.fail if config.getoption("--trogdor-require") else pytest.skip)(reason)


trogdor_lab, trogdor_fault, trogdor_kibosh = lab, fault, kibosh
"""The same fixtures by names that clash with nothing."""


def _offset_ms(client: Client) -> float:
    before_ms = time.time() * 1000
    now_ms = float(client.uptime()["nowMs"])
    return now_ms - (before_ms + time.time() * 1000) / 2


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the timeline of the test's faults to its report, and keeps what a failed one needs to be understood."""
    report = yield
    story = item.stash.get(STORY, None)
    if story is not None and report.when == "call":
        item.user_properties.extend(("trogdor_schedule", drawn) for drawn in story.schedules)
        for what, took_ms in story.recoveries:
            item.user_properties.append((f"recovered_ms: {what}", f"{took_ms:.1f}"))
        if report.failed:
            report.sections.append(("trogdor: faults", "\n".join(story.timeline()) or "none"))
            if kept := _keep(item, item.stash[CLUSTER], story):
                report.sections.append(("trogdor: kept", "\n".join(kept)))
    return report


def _keep(item: pytest.Item, cluster: Cluster, story: Story) -> list[str]:
    lines = []
    if folder := item.config.getoption("--trogdor-artifacts"):
        kept = Path(folder) / "".join(letter if letter.isalnum() else "_" for letter in item.nodeid)
        kept.mkdir(parents=True, exist_ok=True)
        specs = {injection.task_id: injection.spec for injection in story.injections}
        (kept / "specs.json").write_text(json.dumps(specs, indent=2))
        try:
            (kept / "events.json").write_text(json.dumps(cluster.client.events(), indent=2))
        except ClientError as error:
            lines.append(str(error))
        if cluster.lab:
            for name, node in cluster.lab.nodes.items():
                (kept / f"{name}.agent.log").write_text(node.log("agent"))
        lines.append(str(kept))
    if item.config.getoption("--trogdor-keep"):
        lines.append(item.config.stash[LABS].keep(cluster))
    return lines
