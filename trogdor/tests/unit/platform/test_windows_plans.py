"""The plans for Windows, made here: what is claimed, and the very scripts that would carry it out."""

import base64
import json

import pytest

from trogdor.claim.model import Claim, Term
from trogdor.platform.base import Plan, Scene
from trogdor.platform.linux.addresses import Addresses
from trogdor.platform.windows import firewall, process, suspend
from trogdor.platform.windows.faults import PLATFORM
from trogdor.platform.windows.network import key_of
from trogdor.platform.windows.powershell import command, quoted
from trogdor.probe.expect import LinkCut
from trogdor.spec import SpecError, parse
from trogdor.topology import topology_of

TERM = Term("task-7", 7, 1_000, 2_000)
AGENT = {"trogdor.agent.port": "8888"}
CLUSTER = topology_of({"nodes": {name: {"hostname": f"10.0.0.{name[1]}", **AGENT} for name in ("n1", "n2", "n3")}})
ADDRESSES = {"n1": ["10.0.0.1"], "n2": ["10.0.0.2", "fd00::2"], "n3": ["10.0.0.3"]}
PARTITION = {"class": "NetworkPartitionFaultSpec", "partitions": [["n1"], ["n2", "n3"]]}
WANT = {"link": "n2 → n1", "remote": ["10.0.0.2", "fd00::2"], "exempt": [["10.0.0.2", 8888]]}


def plan(document: dict[str, object], facts: object) -> Plan:
    spec = parse(document)
    scene = Scene(CLUSTER.nodes["n1"], CLUSTER, exempt=(("10.0.0.2", 8888),))
    return PLATFORM.faults[type(spec)].plan(spec, scene, facts, TERM)


def test_a_partition_blocks_each_other_side_where_it_arrives() -> None:
    planned = plan(PARTITION, ADDRESSES)
    assert planned.claims == [
        Claim("7/n2 → n1", "firewall", key_of(["10.0.0.2", "fd00::2"]), WANT, TERM),
        Claim("7/n3 → n1", "firewall", key_of(["10.0.0.3"]), {"link": "n3 → n1", "remote": ["10.0.0.3"],
              "exempt": [["10.0.0.2", 8888]]}, TERM),
    ]  # fmt: skip
    assert planned.expect == [LinkCut("n2", "n1", "any", (), False), LinkCut("n3", "n1", "any", (), False)]


def test_it_finds_the_links_that_linux_finds_by_the_same_spec() -> None:
    from trogdor.platform.linux import PLATFORM as LINUX

    spec = parse(PARTITION)
    scene = Scene(CLUSTER.nodes["n1"], CLUSTER)
    addresses = Addresses({name: tuple(each) for name, each in ADDRESSES.items()}, frozenset({"10.0.0.1"}))
    assert plan(PARTITION, ADDRESSES).targets == LINUX.faults[type(spec)].plan(spec, scene, addresses, TERM).targets


def test_the_rules_are_made_disabled_and_leave_out_what_is_exempt() -> None:
    group = "-Group 'Trogdor n1 k'"
    shared = f"-DisplayName 'Trogdor: n2 → n1' {group} -Direction Inbound -Action Block -Enabled False -Profile Any"
    rules = (
        "-RemoteAddress @('fd00::2') -Protocol Any",
        "-RemoteAddress @('10.0.0.2') -Protocol TCP -LocalPort @('0-8887','8889-65535')",
        "-RemoteAddress @('10.0.0.2') -Protocol UDP",
        "-RemoteAddress @('10.0.0.2') -Protocol ICMPv4",
    )
    assert firewall.making("n1", "k", WANT).splitlines() == [
        f"Get-NetFirewallRule {group} -ErrorAction SilentlyContinue | Remove-NetFirewallRule",
        *(f"New-NetFirewallRule -Name 'trogdor-n1-k-{n}' {shared} {rule} | Out-Null" for n, rule in enumerate(rules)),
    ]
    assert firewall.setting("n1", {"b": False, "a": True}).splitlines() == [
        "Enable-NetFirewallRule -Group 'Trogdor n1 a'", "Disable-NetFirewallRule -Group 'Trogdor n1 b'",
    ]  # fmt: skip
    assert list(firewall.ports_but({0, 5, 6, 65_535})) == ["1-4", "7-65534"]


def test_nothing_in_a_name_is_taken_for_a_command() -> None:
    assert quoted("n1'; Stop-Computer; '") == "'n1''; Stop-Computer; '''"
    *_, encoded = command("echo 1")
    assert base64.b64decode(encoded).decode("utf-16-le").endswith("echo 1")


LISTED = json.dumps([
    {"pid": 4, "name": "System", "line": "", "started": 1},
    {"pid": 700, "name": "lsass.exe", "line": "C:\\lsass.exe kafka.Kafka", "started": 2},
    {"pid": 41, "name": "java.exe", "line": '"C:\\jdk\\java.exe" -Xmx1g kafka.Kafka "C:\\s.cfg"', "started": 3},
    {"pid": 42, "name": "java.exe", "line": "java.exe -jar zookeeper.jar", "started": 4},
    {"pid": 43, "name": "notepad.exe", "line": "notepad.exe kafka.Kafka", "started": 5},
])  # fmt: skip


def test_processes_are_found_by_main_class_name_and_command_line_and_the_machines_own_never() -> None:
    listed = process.listed(LISTED)
    by = {word: [each.pid for each in process.matching(listed, match)] for word, match in {
        "class": {"javaMain": "kafka.Kafka"}, "last word": {"javaMain": "Kafka"}, "name": {"name": "java"},
        "line": {"pattern": r"zookeeper\.jar"}, "both": {"name": "java.exe", "pattern": "Xmx"}, "all": {"pattern": ""},
    }.items()}  # fmt: skip
    assert by == {"class": [41], "last word": [41], "name": [41, 42], "line": [42], "both": [41], "all": [41, 42, 43]}
    with pytest.raises(SpecError, match="pidFile, user cannot be told on Windows"):
        process.matching(listed, {"user": "x", "pidFile": "y"})


def test_a_process_stop_claims_pid_and_start_and_says_that_nobody_looks() -> None:
    facts = process.matching(process.listed(LISTED), {"javaMain": "Kafka"})
    planned = plan({"class": "ProcessStopFaultSpec", "nodeNames": ["n1"], "javaProcessName": "Kafka"}, facts)
    assert planned.claims == [Claim("7/41@3", "suspend", "41@3", "stopped", TERM)]
    assert (planned.targets, planned.unverified) == (["java.exe (pid 41)"], "no probe looks at Windows' processes")


def test_a_process_is_stopped_when_all_of_its_threads_are_and_gone_when_its_pid_is_anothers() -> None:
    assert suspend.seen("41@3", "3\r\nSuspended\r\nSuspended\r\n") == "stopped"
    assert suspend.seen("41@3", "3\nSuspended\nUserRequest\n") == "running"
    assert suspend.seen("41@3", "9\nSuspended\n") is None
    assert suspend.seen("41@3", "") is None


def test_what_is_claimed_is_of_a_kind_that_can_be_loaded_and_that_doctor_knows_never_ran() -> None:
    import importlib

    for kind, factory in PLATFORM.kinds.items():
        module, _, name = factory.partition(":")
        assert getattr(importlib.import_module(module), name).kind == kind
    assert {kind for fault in PLATFORM.faults.values() for kind in fault.kinds} == {*PLATFORM.kinds}
    assert "ever been run on Windows" in PLATFORM.missing()["windows"]
