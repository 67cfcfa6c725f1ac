"""The pytest plugin, in pytest runs of its own: the ways for a test to end that it tells apart, and what it keeps."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from lab.waiting import python_path
from trogdor.lab import Lab

pytest_plugins = ["pytester"]
pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("pytest_plugin")]

INSTALLED = any(point.value == "trogdor.testing.plugin" for point in entry_points(group="pytest11"))
THERE = {**os.environ, "PYTHONPATH": python_path(), "SHELL": "/bin/sh"}
PLUGIN = () if INSTALLED else ("-p", "trogdor.testing.plugin")

ENDINGS = r"""
import pytest
from trogdor.testing import CheckFailed, DidNotRecover, FaultDidNotTake, recovers

@pytest.mark.lab(nodes=2)
def test_seen_and_healed(lab, fault):
    with fault.partition("n1", "n2") as cut:
        assert cut.seen.late_ms >= 0
    assert cut.healed.late_ms >= 0

@pytest.mark.lab(nodes=2)
def test_a_fault_that_finds_nothing_did_not_take(lab, fault):
    with pytest.raises(FaultDidNotTake, match="no process matched"):
        with fault.pause("n1", name="no-such-program"):
            pytest.fail("entered")

@pytest.mark.lab(nodes=2)
def test_the_tests_own_exception_is_the_one_that_is_raised(lab, fault):
    with fault.partition("n1", "n2"):
        raise RuntimeError("the system lost a write")

@pytest.mark.lab(nodes=2)
def test_what_does_not_recover_says_so_with_the_timeline(lab, fault):
    with fault.isolate("n1"):
        pass
    with pytest.raises(DidNotRecover, match="NetworkPartitionFaultSpec on n1 n2: seen"):
        recovers(lambda: False, within="100ms")
    assert recovers(lambda: True, within="60s") > 0

@pytest.mark.lab(nodes=2)
async def test_the_same_object_serves_async_tests(lab, fault):
    async with fault.cut("n1", "n2", protocol="tcp") as cut:
        assert cut.nodes == ["n2"]

SCHEDULE = {"class": "RandomScheduleSpec", "seed": 17, "durationMs": 1500, "quietMs": 200,
            "length": {"type": "constant", "ms": 300}, "pause": {"type": "constant", "ms": 300},
            "faults": [{"spec": {"class": "NetworkPartitionFaultSpec", "partitions": ["$nodes", "$others"]}}]}

@pytest.mark.lab(nodes=2)
def test_a_schedule_runs_to_its_end_and_its_check_can_fail(lab, fault):
    fault.schedule(SCHEDULE, lambda: True)
    with pytest.raises(CheckFailed, match="seed 17, format version 1.*it returned False"):
        fault.schedule(SCHEDULE, lambda: False, every="100ms")
    assert {task["state"] for task in lab.client.tasks().values()} == {"DONE"}

@pytest.mark.lab(nodes=2)
def test_a_fault_without_with(lab, fault):
    fault.partition("n1", "n2")

@pytest.mark.lab(nodes=2)
def test_what_is_no_fault_is_refused(lab, fault):
    with pytest.raises(FaultDidNotTake, match="spec.class: no spec of class ''"):
        with fault.run({"partitions": [["n1"], ["n2"]]}):
            pytest.fail("entered")
    with pytest.raises(TypeError, match="what the kibosh fixture returns, not '/mnt/data'"):
        fault.disk("/mnt/data", "read")
    with pytest.raises(AttributeError, match=r"mark.lab\(recipe='etcd'\) starts one"):
        lab.etcd.leader()

@pytest.mark.lab(node=2)
def test_asks_for_what_a_lab_does_not_have(lab):
    pytest.fail("has it")

@pytest.mark.lab(nodes=2, recipe="etdc")
def test_asks_for_a_recipe_that_there_is_not(lab):
    pytest.fail("has it")

@pytest.mark.lab(nodes=2)
def test_leaves_a_fault_behind(lab):
    lab.client.create_task("left", {"class": "NoOpTaskSpec", "startMs": 0, "durationMs": 600_000})

@pytest.mark.lab(nodes=2)
def test_finds_a_clean_lab(lab):
    assert not lab.client.tasks()
"""

TWO = """
import pytest

@pytest.mark.lab(nodes=2)
def test_passes(lab, fault):
    with fault.partition("n1", "n2") as cut:
        assert cut.seen

@pytest.mark.lab(nodes=2)
def test_fails(lab, fault):
    assert lab.names == ["n3"]
"""

DISK = """
import pytest

@pytest.mark.lab(nodes=1)
def test_a_disk_fails_and_heals(trogdor_lab, trogdor_fault, trogdor_kibosh):
    node, disk = trogdor_lab.nodes["n1"], trogdor_kibosh("n1", "/mnt/data")
    node.exec(["sh", "-c", f"echo text >{disk}/file"], check=True)
    with trogdor_fault.disk(disk, "read", prefix="/file", error="EIO") as failing:
        assert "Input/output error" in node.exec(["cat", f"{disk}/file"]).stderr
    assert failing.healed
    assert node.exec(["cat", f"{disk}/file"], check=True).stdout == "text\\n"

@pytest.mark.lab(nodes=1)
def test_the_disk_went_with_its_test_and_is_never_the_machines(lab, kibosh):
    assert lab.nodes["n1"].exec(["mountpoint", "-q", "/mnt/data"]).returncode
    with pytest.raises(ValueError, match="/usr/data is not in a directory of n1's own"):
        kibosh("n1", "/usr/data")
    with pytest.raises(ValueError, match="no node 'n9'; there are n1"):
        kibosh("n9", "/mnt/data")
"""

NO_LAB = """
import trogdor.testing.cluster as cluster
from trogdor.lab import LabError

def no_lab(**_):
    raise LabError("no namespaces here: ask for them")

cluster.Lab = no_lab
"""


def test_each_ending_is_told_apart_and_a_failure_keeps_what_explains_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ENDINGS)
    pytester.makeini("[pytest]\nasyncio_mode = auto")
    run = pytester.runpytest_subprocess(*PLUGIN, "--trogdor-artifacts", "kept", "--junitxml=junit.xml", timeout=300)
    run.assert_outcomes(passed=9, failed=1, errors=2)
    drawn = '<property name="trogdor_schedule" value="seed 17, format version 1"'
    assert (pytester.path / "junit.xml").read_text().count(drawn) == 2
    run.stdout.fnmatch_lines_random(
        [
            "*RuntimeError: the system lost a write",
            "*NetworkPartitionFaultSpec on n1 n2: seen at 0.000 s*healed at*",
            "*the lab is replaced: task left*",
            "*NetworkPartitionFaultSpec on no node: made and never entered*",
            "*@pytest.mark.lab(nodes=3, recipe=None): got an unexpected keyword argument 'node'",
            "*there is no recipe 'etdc'; there are etcd, kafka",
        ]
    )
    (kept,) = (pytester.path / "kept").iterdir()
    assert "the_tests_own_exception" in kept.name
    (spec,) = json.loads((kept / "specs.json").read_text()).values()
    assert spec["partitions"] == [["n1"], ["n2"]]
    assert json.loads((kept / "events.json").read_text())
    assert {path.name for path in Path(kept).glob("*.log")} == {"n1.agent.log", "n2.agent.log"}


def test_where_there_can_be_no_lab_tests_are_skipped_or_fail_if_it_is_required(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(NO_LAB)
    pytester.makepyfile("def test_needs_a_lab(lab): pass")
    skipped = pytester.runpytest_subprocess(*PLUGIN, "-rs", timeout=120)
    skipped.assert_outcomes(skipped=1)
    skipped.stdout.fnmatch_lines(["*no lab here: no namespaces here: ask for them*"])
    pytester.runpytest_subprocess(*PLUGIN, "--trogdor-require", timeout=120).assert_outcomes(errors=1)


def test_under_xdist_the_lab_of_a_failed_test_stays_and_can_be_entered(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TWO)
    run = pytester.runpytest_subprocess(*PLUGIN, "-n", "2", "--trogdor-keep", timeout=300)
    (line,) = re.findall(r"the lab is up: trogdor (.*)", run.stdout.str())
    with Lab.attach(line.rpartition(" ")[2]) as left:
        pasted = [sys.executable, "-m", "trogdor", *line.split()]
        entered = subprocess.run(pasted, input="hostname", env=THERE, capture_output=True, text=True, timeout=60)
        assert (entered.returncode, entered.stdout) == (0, "n1\n"), entered.stderr
        assert left.client().nodes().keys() == {"n1", "n2"}
    run.assert_outcomes(passed=1, failed=1)


def test_the_same_tests_run_on_the_users_own_cluster_if_it_is_clean(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TWO)
    with Lab(nodes=2, share=[pytester.path]) as own, own.client() as client:
        own.start_daemons()
        command = [sys.executable, "-m", "pytest", *PLUGIN, "--trogdor=localhost:8889", "-p", "no:cacheprovider"]
        ran = own.coordinator.exec(command, cwd=pytester.path, env=THERE, timeout=300)
        assert "1 failed, 1 passed" in ran.stdout, ran.stdout + ran.stderr
        assert [task["state"] for task in client.tasks().values()] == ["DONE"]
        client.create_task("theirs", {"class": "NoOpTaskSpec", "startMs": 0, "durationMs": 600_000})
        unclean = pytester.runpytest_subprocess(*PLUGIN, f"--trogdor={own.target}", timeout=300)
        unclean.assert_outcomes(errors=2)
        unclean.stdout.fnmatch_lines(["*is not clean, end these first (`trogdor heal`): task theirs*"])
        assert client.task("theirs")["state"] == "RUNNING"


def test_a_disk_fails_under_a_test_and_goes_with_it(pytester: pytest.Pytester) -> None:
    pytest.importorskip("kibosh", reason="Kibosh is not built: make -C kibosh build")
    pytester.makepyfile(DISK)
    pytester.runpytest_subprocess(*PLUGIN, timeout=300).assert_outcomes(passed=2)


def test_without_kibosh_a_test_of_disks_is_skipped(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("import importlib.util as util; util.find_spec = lambda name: None")
    pytester.makepyfile(DISK)
    skipped = pytester.runpytest_subprocess(*PLUGIN, "-rs", timeout=300)
    skipped.assert_outcomes(passed=1, skipped=1)
    skipped.stdout.fnmatch_lines(["*no Kibosh here: there is no Kibosh in this Python*"])
