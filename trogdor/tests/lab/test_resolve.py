"""Resolvers ask real systems who is who, each time in a short-lived process on the coordinator's node."""

import json
import os
import pwd
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.waiting import wait_until
from trogdor.lab import Lab
from trogdor.lab.node import Node
from trogdor.lab.recipes.etcd import Etcd

pytestmark = pytest.mark.lab


POSTGRESQL = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)


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


def as_postgres(node: Node, program: str, *arguments: str) -> None:
    """Runs a program of PostgreSQL's on a node, as the user postgres: it refuses to be root."""
    assert POSTGRESQL is not None
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    done = node.exec([*user, str(POSTGRESQL.with_name(program)), *arguments], timeout=120, cwd="/", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(POSTGRESQL is None or os.geteuid() != 0, reason="needs PostgreSQL's server, and root to leave it")
def test_postgresqls_primary_and_replica_are_who_they_are() -> None:
    data = "/mnt/postgresql/data"
    with Lab(nodes=3) as lab:
        primary, replica = lab.node("n2"), lab.node("n3")
        for node in (primary, replica):
            home = node.path("/mnt/postgresql")
            home.mkdir()
            os.chown(home, *pwd.getpwnam("postgres")[2:4])
        as_postgres(primary, "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync")
        with open(primary.path(f"{data}/pg_hba.conf"), "a") as hba:
            hba.write("host all all all trust\nhost replication all all trust\n")
        with open(primary.path(f"{data}/postgresql.conf"), "a") as conf:
            conf.write("listen_addresses = '*'\nunix_socket_directories = ''\nfsync = off\n")
            conf.write("dynamic_shared_memory_type = mmap\n")  # what is in /dev/shm would stay
        start = ("-D", data, "-w", "-t", "100", "-l", "/mnt/postgresql/log", "start")
        as_postgres(primary, "pg_ctl", *start)
        as_postgres(replica, "pg_basebackup", "-h", "n2", "-U", "postgres", "-D", data, "-R", "-c", "fast", "--no-sync")
        as_postgres(replica, "pg_ctl", *start)
        found = ask(lab, *(question(role, "postgresql") for role in ("primary", "replica", "replicas", "emperor")))
        assert [answer.get("nodes") for answer in found] == [["n2"], ["n3"], ["n3"], None]
        assert "primary, replica, replicas" in found[3]["error"]
