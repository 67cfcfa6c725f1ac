"""Resolvers ask real systems who is who, each time in a short-lived process on the coordinator's node."""

import ctypes
import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from lab.postgresql import DATA, START, as_postgres, make_home, needs_postgresql, start_server
from lab.waiting import wait_until
from trogdor.lab import Lab
from trogdor.lab.recipes.etcd import Etcd
from trogdor.resolve.libpq import bundled

pytestmark = pytest.mark.lab


def ask(lab: Lab, *questions: dict[str, Any]) -> list[dict[str, Any]]:
    given = json.dumps({"topology": lab.topology(), "questions": questions})
    told = lab.coordinator.exec([sys.executable, "-m", "trogdor.resolve"], input=given, check=True).stdout
    answers: list[dict[str, Any]] = json.loads(told)["answers"]
    return answers


def question(role: str, resolve: str = "etcd", **options: Any) -> dict[str, Any]:
    return {"resolve": resolve, "role": role, "options": options}


def test_etcds_leader_followers_minority_and_majority_are_who_they_are() -> None:
    with Lab(nodes=3) as lab, Etcd(lab) as etcd:
        leader = etcd.leader()
        assert leader is not None
        followers = sorted(set(lab.nodes) - {leader})
        found = ask(lab, *(question(role) for role in ("leader", "follower", "minority", "majority", "members")))
        nodes = [answer["nodes"] for answer in found]
        assert nodes[:3] == [[leader], followers, [leader]]
        assert leader in nodes[3]
        assert [len(each) for each in nodes[3:]] == [2, 3]
        assert all(answer["epoch"] > 0 and leader in answer["how"] for answer in found)

        lab.start_daemons()
        pause = ["pause", "leader", "--resolve", "etcd", "--for", "500ms", "-t", lab.target, "--json"]
        ran = subprocess.run([sys.executable, "-m", "trogdor", *pause], capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran
        assert json.loads(ran.stdout)["task"]["status"]["found"][0]["nodes"] == [leader]

        without = ask(lab, question("minority", **{"with": "followers"}), question("leader", endpoints="n1:1"))
        assert without[0]["nodes"] == followers[:1]
        assert "no etcd answers as the leader" in without[1]["error"]

        etcd.processes[leader].kill()
        wait_until(lambda: ask(lab, question("leader"))[0].get("nodes") not in (None, [leader]))


def test_a_command_or_a_resolver_that_is_not_there_is_told() -> None:
    with Lab(nodes=1) as lab:
        found = ask(
            lab,
            question("", "command", command=["/bin/echo", "n1 n1"]),
            question("", "command", command=["/bin/sh", "-c", "echo nobody knows >&2; exit 3"]),
            question("leader", "oracle"),
        )
    assert found[0]["nodes"] == ["n1"]
    assert "exited with 3: nobody knows" in found[1]["error"]
    assert "no resolver 'oracle'" in found[2]["error"]


def test_where_the_system_has_no_libpq_the_one_in_psycopgs_wheel_is_taken() -> None:
    if find_spec("psycopg_binary") is None:
        pytest.skip("psycopg's wheel is not installed")
    (library,) = bundled()
    assert ctypes.CDLL(library).PQlibVersion() >= 120000


@needs_postgresql
def test_postgresqls_primary_and_replica_are_who_they_are() -> None:
    with Lab(nodes=3) as lab:
        primary, replica = lab.node("n2"), lab.node("n3")
        start_server(primary)
        make_home(replica)
        copy = ("-h", "n2", "-U", "postgres", "-D", DATA, "-R", "-c", "fast", "--no-sync")
        as_postgres(replica, "pg_basebackup", *copy)
        as_postgres(replica, "pg_ctl", *START)
        found = ask(lab, *(question(role, "postgresql") for role in ("primary", "replica", "replicas", "emperor")))
        assert [answer.get("nodes") for answer in found] == [["n2"], ["n3"], ["n3"], None]
        assert "primary, replica, replicas" in found[3]["error"]
