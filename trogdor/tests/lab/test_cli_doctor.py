"""``trogdor doctor`` on this very machine, which it must leave as it was."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from lab.agents import WITHOUT_LIBNFTABLES

pytestmark = pytest.mark.lab

DOCTOR = [sys.executable, "-m", "trogdor", "doctor", "--json"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def doctor(*before: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    done = subprocess.run([*before, *DOCTOR], capture_output=True, text=True, timeout=120, env=ENVIRONMENT)
    found = json.loads(done.stdout)
    return done.returncode, {trial["name"]: trial for trial in found["trials"]}, found["paste"]


def machine() -> list[str]:
    commands = (["nft", "list", "tables"], ["tc", "qdisc", "show"], ["ip", "link"], ["cat", "/proc/self/cgroup"])
    return [subprocess.run(command, capture_output=True, text=True, timeout=60).stdout for command in commands]


def test_where_the_lab_works_doctor_says_so_and_leaves_the_machine_as_it_was() -> None:
    before = machine()
    code, trials, _ = doctor()
    assert trials["namespaces"]["works"], trials["namespaces"]
    assert trials["nftables"]["works"], trials["nftables"]
    assert trials["pidfd"]["works"]
    assert code == 0
    assert machine() == before


@pytest.mark.parametrize("kind", ["net", "mnt", "pid"])
def test_a_limit_that_forbids_namespaces_is_named_with_its_cure(kind: str) -> None:
    limit = f"/proc/sys/user/max_{kind}_namespaces"
    forbid = ("unshare", "--user", "--map-root-user", "sh", "-c", f'echo 0 >{limit} && exec "$@"', "sh")
    code, trials, paste = doctor(*forbid)
    assert code == 6
    assert not trials["namespaces"]["works"]
    assert f"{limit} is 0" in trials["namespaces"]["said"]
    assert not trials["nftables"]["works"]
    assert paste == f"sysctl user.max_{kind}_namespaces=10000"


def test_a_missing_library_is_named_with_its_package() -> None:
    code, trials, paste = doctor("unshare", "--user", "--map-root-user", *WITHOUT_LIBNFTABLES)
    assert code == 6
    assert "libnftables1" in trials["nftables"]["said"]
    assert "libnftables1" in paste
