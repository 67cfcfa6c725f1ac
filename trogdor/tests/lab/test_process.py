"""Stopped processes as /proc shows them: the ones meant, none of the others, and no pid that is used again."""

import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.ledger_process import LedgerProcess
from lab.waiting import settled, wait_until
from trogdor.claim.ledger import Ledger, boot_ns
from trogdor.claim.model import CannotInject, Claim, Term
from trogdor.claim.place import Place
from trogdor.lab import Lab
from trogdor.lab.node import NodeProcess
from trogdor.platform.base import Scene
from trogdor.platform.linux import PLATFORM, processes
from trogdor.spec import parse
from trogdor.topology import Node, Topology

pytestmark = pytest.mark.lab

KINDS = {"process": "trogdor.platform.linux.stop:Stop"}
_workers = itertools.count(1)


@pytest.fixture
def place(lab: Lab) -> Place:
    pid = lab.nodes["n4"].pid
    assert pid is not None
    return Place.of_process(pid)


@pytest.fixture
def ledger(place: Place, tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path, "n4", KINDS, place=place)
    yield opened
    opened.close()


@pytest.fixture
def sleeper(lab: Lab) -> Iterator[NodeProcess]:
    with lab.nodes["n4"].popen(["/bin/sleep", "1000"]) as process:
        wait_until(lambda: state(process) == "S")
        yield process


def state(process: NodeProcess) -> str:
    assert process.host_pid is not None
    seen = processes.read(process.host_pid)
    return "gone" if seen is None else settled(seen.state)


def claim(process: NodeProcess, worker: int | None = None) -> Claim:
    worker = worker or next(_workers)
    seen = processes.read(process.host_pid or 0)
    assert seen is not None
    now = boot_ns()
    return Claim(f"{worker}/{seen.key}", "process", seen.key, "stopped", Term(f"t{worker}", worker, now, now + 10**12))


def test_a_process_is_stopped_as_long_as_anybody_wants_it_so(ledger: Ledger, sleeper: NodeProcess) -> None:
    one, other = claim(sleeper), claim(sleeper)
    ledger.admit([one, other])
    assert state(sleeper) == "S"
    ledger.fire([one.id])
    wait_until(lambda: state(sleeper) == "T")
    ledger.fire([other.id])
    ledger.release([one.id], "end")
    assert state(sleeper) == "T"
    assert ledger.undone_elsewhere([other.id]) == {}
    assert ledger.release([other.id], "end").by == "end"
    wait_until(lambda: state(sleeper) == "S")


def test_fired_and_ended_at_once_it_still_goes_on(ledger: Ledger, sleeper: NodeProcess) -> None:
    for _ in range(50):
        brief = claim(sleeper)
        ledger.admit([brief])
        ledger.fire([brief.id])
        ledger.release([brief.id], "end")
    wait_until(lambda: state(sleeper) == "S")


def test_one_that_was_stopped_before_stays_stopped(ledger: Ledger, sleeper: NodeProcess) -> None:
    armed = claim(sleeper)
    ledger.admit([armed])
    sleeper.send_signal(signal.SIGSTOP)
    wait_until(lambda: state(sleeper) == "T")
    ledger.fire([armed.id])
    ledger.release([armed.id], "end")
    assert state(sleeper) == "T"
    sleeper.send_signal(signal.SIGCONT)


def test_one_that_dies_is_no_failed_end(ledger: Ledger, sleeper: NodeProcess) -> None:
    one = claim(sleeper)
    ledger.admit([one])
    ledger.fire([one.id])
    sleeper.kill()
    sleeper.wait()
    wait_until(lambda: ledger.undone_elsewhere([one.id]).keys() == {one.id})
    undone = ledger.release([one.id], "end")
    assert (undone.by, undone.failed) == ("gone", ())


def test_one_that_somebody_lets_go_on_is_reported_and_left_alone(ledger: Ledger, sleeper: NodeProcess) -> None:
    one = claim(sleeper)
    ledger.admit([one])
    ledger.fire([one.id])
    wait_until(lambda: state(sleeper) == "T")
    sleeper.send_signal(signal.SIGCONT)
    wait_until(lambda: ledger.undone_elsewhere([one.id]).keys() == {one.id})
    settled = boot_ns() + 300_000_000
    wait_until(lambda: boot_ns() > settled)
    assert "running again" in ledger.release([one.id], "end").left_alone[0]


def test_a_pid_that_is_another_s_now_is_not_hit(ledger: Ledger, sleeper: NodeProcess) -> None:
    pid, _, started = claim(sleeper).key.partition("@")
    key = f"{pid}@{int(started) - 1}"
    now = boot_ns()
    stale = Claim("9/x", "process", key, "stopped", Term("t9", 9, now, now + 10**12))
    ledger.admit([stale])
    assert ledger.fire([stale.id]).troubles["9/x"].what == "gone"
    assert state(sleeper) == "S"


def test_the_next_agent_lets_go_on_what_a_dead_one_stopped(place: Place, tmp_path: Path, sleeper: NodeProcess) -> None:
    dead = Ledger.open(tmp_path, "dead", KINDS, place=place)
    one = claim(sleeper)
    dead.admit([one])
    dead.fire([one.id])
    wait_until(lambda: state(sleeper) == "T")
    dead._lock.release()
    Ledger.open(tmp_path, "dead", KINDS, place=place).close()
    wait_until(lambda: state(sleeper) == "S")


def found(place: Place, **match: str) -> set[int]:
    return {process.pid for process in processes.find(place, match)}


def test_processes_are_found_by_name_pattern_pid_file_and_user(lab: Lab, place: Place, sleeper: NodeProcess) -> None:
    node = lab.nodes["n4"]
    pid_file = f"/run/test-{os.getpid()}.pid"
    with node.popen(["/bin/sh", "-c", f"echo {sleeper.pid} > {pid_file}"]) as writer:
        assert writer.wait(30) == 0
    me = {sleeper.host_pid}
    assert found(place, name="sleep") == me
    assert found(place, pattern=r"sleep 10{3}$") == me
    assert found(place, name="sleep", pattern="no such words") == set()
    assert found(place, pidFile=pid_file) == me
    assert found(place, name="sleep", user="root") == found(place, name="sleep", user="0") == me
    with pytest.raises(OSError, match="no user"):
        found(place, user="nobody-of-that-name")


def test_one_place_s_processes_are_not_another_s(lab: Lab, place: Place, sleeper: NodeProcess) -> None:
    pid = lab.nodes["n5"].pid
    assert pid is not None
    assert found(Place.of_process(pid), name="sleep") == set()


def test_what_keeps_a_machine_and_its_agents_alive_is_never_matched(lab: Lab, place: Place, tmp_path: Path) -> None:
    machine = {process.pid: process for process in processes.everyone(Place.here())}
    assert all(processes.is_untouchable(machine[pid]) for pid in (1, 2, os.getpid()) if pid in machine)
    with LedgerProcess(lab.nodes["n4"], tmp_path) as agent:
        agent("open", warden=True)
        words = "trogdor.warden"
        wait_until(lambda: any(words in " ".join(process.arguments) for process in processes.everyone(place)))
        assert found(place, pattern=words) == set()
    program = lab.nodes["n4"].path("/var/log") / "sshd"
    shutil.copy("/bin/sleep", program)
    with lab.nodes["n4"].popen(["/var/log/sshd", "1000"]) as daemon:
        wait_until(lambda: any(process.command == "sshd" for process in processes.everyone(place)))
        assert daemon.host_pid not in found(place, pattern="1000")


def test_a_tree_is_a_process_and_all_its_descendants(lab: Lab, place: Place) -> None:
    with lab.nodes["n4"].popen(["/bin/sh", "-c", "sh -c 'sleep 1001 & wait' & sleep 1002 & wait"]):
        wait_until(lambda: len(found(place, pattern=r"^sleep 100[12]$")) == 2)
        parent = processes.find(place, {"pattern": "^/bin/sh -c sh"})
        names = [process.command for process in processes.descendants(parent, place)]
        assert sorted(names) == ["sh", "sh", "sleep", "sleep"]
        assert names[0] == "sh"


def scene(place: Place) -> Scene:
    node = Node("n4", agent_port=1)
    return Scene(node, Topology({"n4": node}), place)


def test_more_matches_than_allowed_are_refused_by_name(lab: Lab, place: Place, sleeper: NodeProcess) -> None:
    spec = parse({"class": "ProcessPauseFaultSpec", "nodeNames": ["n4"], "match": {"name": "sleep"}, "maxProcesses": 1})
    fault = PLATFORM.faults[type(spec)]
    assert len(fault.facts(spec, scene(place)).processes) == 1
    with lab.nodes["n4"].popen(["/bin/sleep", "1003"]):
        wait_until(lambda: len(found(place, name="sleep")) == 2)
        with pytest.raises(CannotInject, match=r"2 processes match, more than maxProcesses \(1\): sleep \(pid"):
            fault.facts(spec, scene(place))


def test_a_pattern_that_is_none_is_an_error_that_says_so(place: Place) -> None:
    spec = parse({"class": "ProcessPauseFaultSpec", "nodeNames": ["n4"], "match": {"pattern": "("}})
    with pytest.raises(CannotInject, match="cannot look for the process"):
        PLATFORM.faults[type(spec)].facts(spec, scene(place))


JAVA = """
public class Main {
  public static void main(String[] arguments) throws Exception { Thread.sleep(1000000); }
}
"""


@pytest.fixture(scope="module")
def java_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class ``some.Main`` in classes, which a source launcher cannot stand in for."""
    directory = tmp_path_factory.mktemp("java")
    (directory / "some").mkdir()
    (directory / "some/Main.java").write_text("package some;" + JAVA)
    try:
        subprocess.run(["javac", "some/Main.java"], cwd=directory, check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no javac here")
    return directory


def test_a_java_process_is_found_by_its_main_class_or_its_last_word(lab: Lab, place: Place, java_home: Path) -> None:
    node = lab.nodes["n4"]
    target = node.path("/var/log") / "some"
    target.mkdir(exist_ok=True)
    (target / "Main.class").write_bytes((java_home / "some/Main.class").read_bytes())
    with node.popen(
        ["java", "-Xmx32m", "-XX:TieredStopAtLevel=1", "-cp", "/var/log", "some.Main", "kafka.Kafka"]
    ) as jvm:
        wait_until(lambda: found(place, javaMain="some.Main") == {jvm.host_pid})
        assert found(place, javaMain="Main") == {jvm.host_pid}
        assert found(place, javaMain="kafka.Kafka") == found(place, javaMain="ain") == set()
        wait_until(lambda: processes.java._published(jvm.host_pid or 0).startswith("some.Main kafka.Kafka"))
