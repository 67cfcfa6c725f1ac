"""A hunt against a real service with a real mistake, on a lab with real daemons."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from trogdor.cli.schedule import coordinators_topology, read_schedule
from trogdor.hunt.check import Verdict
from trogdor.hunt.hunt import Options, hunt
from trogdor.hunt.run import Outcome, run_schedule
from trogdor.hunt.state import State
from trogdor.lab import Lab
from trogdor.spec.schedule import FixedScheduleSpec, RandomScheduleSpec

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("hunt")]

EXAMPLE = Path(__file__).parents[3] / "examples" / "register"
PORT = 7000
DEADLINE_S = 60.0


class Register:
    """The replicated map of ``examples/register`` on a lab's nodes, under load on n1."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self._lab = lab
        script = str(EXAMPLE / "register.py")
        for name in lab.nodes:
            peers = [peer for peer in lab.nodes if peer != name]
            stack.enter_context(lab.node(name).popen([sys.executable, script, "serve", *peers], log="register"))
        for name in lab.nodes:
            self._await(lambda name=name: self.keys(name) == [])
        stack.enter_context(lab.node("n1").popen([sys.executable, script, "load"], log="load"))
        self._await(lambda: all(self.keys(name) != [] for name in lab.nodes))

    def keys(self, node: str) -> list[int]:
        """The keys that a node has; all those it was ever sent and not lost."""
        with self._lab.node(node).connect("127.0.0.1", PORT, timeout=DEADLINE_S) as connection:
            connection.sendall(b'{"keys": true}\n')
            return list(json.loads(connection.makefile().readline()))

    def lost_after(self, first: int) -> Verdict:
        """Which keys after ``first`` n1 has acknowledged and a replica will never have: it has later ones."""
        written = [key for key in self.keys("n1") if key > first]
        for name in set(self._lab.nodes) - {"n1"}:
            self._await(lambda name=name: max(self.keys(name)) > max(written, default=first))
            if lost := sorted(set(written) - set(self.keys(name))):
                return Verdict(False, f"{name} has lost {len(lost)} acknowledged writes, the first of them {lost[0]}")
        return Verdict(True)

    def _await(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + DEADLINE_S
        while not _holds(condition):
            assert time.monotonic() < end, "the service does not answer"
            time.sleep(0.02)


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except OSError:
        return False


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(nodes=3) as nodes:
        nodes.start_daemons()
        yield nodes


@pytest.fixture(scope="module")
def register(lab: Lab) -> Iterator[Register]:
    with ExitStack() as stack:
        yield Register(lab, stack)


def test_a_planted_bug_is_found_and_thirty_faults_become_one_or_two(
    lab: Lab, register: Register, tmp_path: Path
) -> None:
    spec = read_schedule(str(EXAMPLE / "hunt.yaml"))
    assert isinstance(spec, RandomScheduleSpec)
    client = lab.client()
    numbers = count()

    def run(schedule: FixedScheduleSpec) -> Outcome:
        first = max(register.keys("n1"))
        return run_schedule(
            client, f"{tmp_path.name}-{next(numbers)}", schedule.to_json(), check=lambda: register.lost_after(first)
        )

    options = Options(seeds=5, repeats=1, confirm=2, max_runs=25)
    found = hunt(spec, coordinators_topology(client), run, State(tmp_path, {}), options=options, say=print)
    assert found is not None
    assert len(found.drawn.tasks) == 30
    assert 1 <= len(found.smallest.tasks) <= 2
    assert "has lost" in found.why
    assert any(link["from"] == "n1" for task in found.smallest.tasks for link in task.spec["links"])
    assert found.failed >= 1
