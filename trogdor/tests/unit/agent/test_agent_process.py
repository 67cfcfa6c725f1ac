"""The agent as a process: how it starts, what it leaves of commands, how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from trogdor.cli.main import main
from trogdor.spec import REGISTRY
from unit.agent.conftest import AgentProcess

NOOP = "org.apache.kafka.trogdor.task.NoOpTaskSpec"
COMMAND = "org.apache.kafka.trogdor.workload.ExternalCommandSpec"


def _now_ms() -> int:
    return int(time.time() * 1000)


def _command(*argv: str, **fields: Any) -> dict[str, Any]:
    spec = {"class": COMMAND, "startMs": _now_ms(), "durationMs": 60_000, "commandNode": "node0", "command": argv}
    return {"workerId": 1, "taskId": "t1", "spec": {**spec, **fields}}


def _boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _armed(worker_id: int = 1, *, in_ms: int, for_ms: int = 60_000, **fields: Any) -> dict[str, Any]:
    start_ns = _boot_ns() + in_ms * 1_000_000
    return {
        "workerId": worker_id, "taskId": f"t{worker_id}", "coordinator": "c", "spec": {"class": NOOP},
        "startNs": start_ns, "endNs": start_ns + for_ms * 1_000_000, "leaseNs": 10**10,
        "wallOffsetNs": time.time_ns() - _boot_ns(), **fields,
    }  # fmt: skip


def test_an_armed_worker_starts_at_its_instant_and_ends_by_its_own_time(agent: Any) -> None:
    arming = _armed(in_ms=500, for_ms=500)
    code, answer = agent.send("POST", "/agent/worker/arm", arming)
    assert (code, answer["state"]) == (200, "STARTING")
    assert list(agent.workers()["1"]) == ["state", "taskId", "spec"]
    shown = agent.done(1)
    assert "error" not in shown
    for shown_at, asked in (("startedMs", "startNs"), ("doneMs", "endNs")):
        assert shown[shown_at] >= (arming[asked] + arming["wallOffsetNs"]) // 1_000_000
    assert agent.send("POST", "/agent/worker/arm", arming)[1]["state"] == "DONE"


def test_an_armed_worker_whose_coordinator_fell_silent_is_not_fired(agent: Any) -> None:
    agent.send("POST", "/agent/worker/arm", _armed(1, in_ms=500, leaseNs=100_000_000))
    shown = agent.done(1)
    assert (shown["error"], shown["startedMs"]) == ("lease expired", -1)


def test_a_lease_keeps_every_worker_of_its_coordinator_armed(agent: Any) -> None:
    agent.send("POST", "/agent/worker/arm", _armed(1, in_ms=3000, leaseNs=2_000_000_000, for_ms=1))
    deadline = time.monotonic() + 60
    while agent.workers()["1"]["state"] == "STARTING" and time.monotonic() < deadline:
        code, answer = agent.send("POST", "/agent/lease", {"coordinator": "c", "sentNs": 17})
        assert code == 200
        assert list(answer) == ["bootNs", "wallMs", "bootId", "epoch", "sentNs", "frozen"]
        time.sleep(0.05)
    assert "error" not in agent.done(1)


@pytest.mark.parametrize("how", ["stop", "destroy"])
def test_a_stopped_armed_worker_never_starts(agent: Any, how: str) -> None:
    agent.send("POST", "/agent/worker/arm", _armed(1, in_ms=400))
    if how == "stop":
        agent.send("PUT", "/agent/worker/stop", {"workerId": 1})
        shown = agent.workers()["1"]
        assert (shown["state"], shown["startedMs"], shown.get("error")) == ("DONE", -1, None)
    else:
        agent.send("DELETE", "/agent/worker?workerId=1")
    time.sleep(0.6)
    assert "startedMs" not in agent.workers().get("1", {}) or agent.workers()["1"]["startedMs"] == -1
    assert ("1" in agent.workers()) == (how == "stop")


def test_a_worker_armed_after_its_instant_starts_late_and_after_its_end_not_at_all(agent: Any) -> None:
    agent.send("POST", "/agent/worker/arm", _armed(1, in_ms=-200, for_ms=60_000))
    agent.until(lambda: agent.workers()["1"]["state"] == "RUNNING")
    agent.send("POST", "/agent/worker/arm", _armed(2, in_ms=-200, for_ms=100))
    assert agent.done(2)["error"] == "worker expired"


def test_a_worker_id_taken_is_a_conflict_for_arm_as_for_create(agent: Any) -> None:
    agent.send("POST", "/agent/worker/arm", _armed(1, in_ms=5000))
    code, answer = agent.send("POST", "/agent/worker/arm", _armed(1, in_ms=5000, taskId="other"))
    assert (code, answer["message"]) == (409, "There is already a worker ID 1 with a different task ID.")
    code, answer = agent.send("POST", "/agent/worker/arm", _armed(2, in_ms=0, nodeName="node7"))
    assert (code, "node7" in answer["message"]) == (400, True)


def test_a_spec_without_a_plan_ends_with_the_reason(agent: Any) -> None:
    example = REGISTRY.find("ControllerSuspendFaultSpec").example  # the coordinator makes others of it
    spec = {"class": "ControllerSuspendFaultSpec", "startMs": _now_ms(), "durationMs": 60_000, **example}
    assert agent.send("POST", "/agent/worker/create", {"workerId": 1, "taskId": "t", "spec": spec}) == (200, {})
    assert agent.done(1)["error"] == "not supported by this version"


def test_a_command_that_is_not_listed_is_refused_with_the_setting_to_change(agent: Any) -> None:
    agent.send("POST", "/agent/worker/create", _command("/bin/cat"))
    assert "trogdor.external.commands" in agent.done(1)["error"]


def test_a_command_that_cannot_start_is_an_error(agent: Any, tmp_path: Path) -> None:
    agent.send("POST", "/agent/worker/create", _command())
    assert agent.done(1)["error"] == "Unable to start process: No command specified"


def test_a_commands_error_ends_it_and_is_the_workers(agent: Any) -> None:
    script = agent.directory / "report.sh"  # found from where the agent was started, as upstream's
    script.write_text('#!/bin/sh\necho \'{"status":{"n":1}}\'; echo plain; echo \'{"error":"boom"}\'; sleep 600\n')
    script.chmod(0o755)
    agent.send("POST", "/agent/worker/create", _command("./report.sh"))
    shown = agent.done(1)
    assert (shown["error"], shown["status"]) == ("boom", {"n": 1})
    assert "(stdout) plain" in agent.log.read_text()


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if os.path.exists(f"/proc/{pid}") and "Z" not in _stat(pid)]


def _stat(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


STUBBORN = """
trap '' TERM
setsid sh -c 'trap "" TERM; echo $$ >> PIDS; while :; do sleep 1; done' &
echo $$ >> PIDS
echo '{"status":"up"}'
while :; do sleep 1; done
"""


def _stubborn(agent: Any, pids_file: Path) -> list[int]:
    """A command, and its child in a session of its own, both deaf to SIGTERM."""
    script = STUBBORN.replace("PIDS", os.fspath(pids_file))
    agent.send("POST", "/agent/worker/create", _command("/bin/sh", "-c", script, shutdownGracePeriodMs=100))
    agent.until(lambda: agent.workers()["1"]["status"] == "up" and len(pids_file.read_text().split()) == 2)
    pids = [int(pid) for pid in pids_file.read_text().split()]
    assert _alive(pids) == pids
    return pids


def _gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 60
    while _alive(pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not _alive(pids)


def test_nothing_of_a_stopped_command_is_left(agent: Any, tmp_path: Path) -> None:
    pids = _stubborn(agent, tmp_path / "pids")
    agent.send("PUT", "/agent/worker/stop", {"workerId": 1})
    agent.done(1)
    assert _gone(pids)


def test_a_command_stopped_while_it_is_being_started_leaves_nothing(agent: Any, tmp_path: Path) -> None:
    pids_file = tmp_path / "pids"
    script = f"echo $$ >> {pids_file}; sleep 600"
    for worker_id in range(1, 11):
        command = _command("/bin/sh", "-c", script, shutdownGracePeriodMs=100) | {"workerId": worker_id}
        agent.send("POST", "/agent/worker/create", command)
        agent.send("PUT", "/agent/worker/stop", {"workerId": worker_id})
        agent.done(worker_id)
    assert _gone([int(pid) for pid in pids_file.read_text().split()] if pids_file.exists() else [])


@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGSEGV, "Segmentation fault"), (signal.SIGABRT, "Aborted")], ids=["SEGV", "ABRT"]
)
def test_a_crash_shows_where_and_leaves_nothing_of_a_command(
    own_agent: Any, tmp_path: Path, number: signal.Signals, said: str
) -> None:
    pids = _stubborn(own_agent, tmp_path / "pids")
    own_agent.wait_until_loaded()
    own_agent.process.send_signal(number)
    assert own_agent.process.wait(60) == -number
    log = own_agent.log.read_text()
    assert f"Fatal Python error: {said}" in log
    assert "trogdor/instant.py" in log, "the firing thread's stack"
    assert _gone(pids)


def test_a_command_runs_at_ordinary_niceness(agent: Any) -> None:
    script = "python3 -c 'import json,os;print(json.dumps({\"status\":[os.nice(0),os.sched_getscheduler(0)]}))'"
    agent.send("POST", "/agent/worker/create", _command("/bin/sh", "-c", script))
    assert agent.done(1)["status"] == [os.nice(0), os.SCHED_OTHER]


def test_events_tell_of_every_change(agent: Any) -> None:
    with agent.stream("/agent/events") as events:
        assert events.readline() == b"event: hello\n"
        agent.send("POST", "/agent/worker/arm", _armed(77, in_ms=500, for_ms=500))
        states: list[str] = []
        while "DONE" not in states:
            line = events.readline()
            told = json.loads(line.removeprefix(b"data: ")) if line.startswith(b"data: ") else {}
            if told.get("workerId") == 77:  # of no other test's worker
                states.append(told["worker"]["state"])
    passed = [state for state in dict.fromkeys(states) if state != "STOPPING"]  # in no time, told with DONE
    assert passed == ["STARTING", "RUNNING", "DONE"]


def test_a_second_agent_of_the_same_node_is_refused(agent: Any) -> None:
    command = [sys.executable, "-m", "trogdor", "agent", "-c", os.fspath(agent.config), "-n", "node0"]
    second = subprocess.run([*command, "--state", os.fspath(agent.state)], capture_output=True, text=True, timeout=60)
    assert second.returncode == 6
    assert f"process {agent.process.pid}" in second.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = tmp_path / "c.json"
        config.write_text(json.dumps({"nodes": {"n1": {"trogdor.agent.port": port}}}))
        command = [sys.executable, "-m", "trogdor", "agent", "-c", os.fspath(config), "-n", "n1"]
        ran = subprocess.run([*command, "--state", os.fspath(tmp_path)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 6
    assert f"cannot listen on 127.0.0.1:{port}" in ran.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_by_name_with_a_worker_running(own_agent: Any, number: signal.Signals) -> None:
    agent = own_agent
    agent.send("POST", "/agent/worker/arm", _armed(1, in_ms=0))
    agent.send("POST", "/agent/worker/arm", _armed(2, in_ms=50_000))
    agent.process.send_signal(number)
    assert agent.process.wait(60) == 0
    log = agent.log.read_text()
    assert f"{number.name}: the agent ends every fault" in log
    assert "worker  t1  DONE" in log
    assert not agent.socket.exists()


def test_a_frozen_agent_refuses_faults_also_after_a_restart(own_agent: Any) -> None:
    agent = own_agent
    assert agent.send("PUT", "/agent/freeze", {}) == (200, {})
    assert agent.send("GET", "/agent/features")[1]["frozen"] is True
    agent.end()
    again = type(agent)(agent.directory).wait_until_it_answers()
    try:
        spec = {"class": "ProcessStopFaultSpec", "nodeNames": ["node0"], "javaProcessName": "no.such.Process"}
        spec |= {"startMs": _now_ms(), "durationMs": 60_000}
        again.send("POST", "/agent/worker/create", {"workerId": 1, "taskId": "t", "spec": spec})
        assert "node0 is frozen" in again.done(1)["error"]
        again.send("PUT", "/agent/thaw", {})
        again.send("POST", "/agent/worker/create", {"workerId": 2, "taskId": "t", "spec": spec})
        assert again.workers()["2"]["state"] == "RUNNING"
    finally:
        again.end()


def test_exec_runs_one_task_in_the_foreground(tmp_path: Path, agent: Any) -> None:
    command = [sys.executable, "-m", "trogdor", "agent", "-c", os.fspath(agent.config), "-n", "node1", "--state"]
    spec = json.dumps({"class": NOOP, "durationMs": 50})
    ran = subprocess.run([*command, os.fspath(tmp_path / "other"), "--exec", spec], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert 'Task succeeded with status "done"' in ran.stdout
    wrong = json.dumps({"class": "ProcessStopFaultSpec", "nodeNames": ["node0"], "javaProcessName": "x"})
    ran = subprocess.run([*command, os.fspath(tmp_path / "other"), "--exec", wrong], capture_output=True, text=True)
    assert ran.returncode == 2
    assert "This task is not configured to run on this node.  It runs on node(s): node0" in ran.stderr


@pytest.mark.parametrize(("content", "said"), [("{", "not JSON"), ('{"nodes": {}}', "no node 'node0'; it has none")])
def test_a_configuration_that_cannot_be_used_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str
) -> None:
    config = tmp_path / "c.json"
    config.write_text(content)
    with pytest.raises(SystemExit) as ended:
        main(["agent", "--agent.config", os.fspath(config), "--node-name", "node0"])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_prometheus_is_told_of_workers_and_of_the_journal(agent: Any) -> None:
    agent.send("POST", "/agent/worker/arm", _armed(in_ms=0, for_ms=10))
    agent.done(1)
    with agent.stream("/metrics") as answer:
        told = answer.read().decode().splitlines()
    assert 'trogdor_workers{state="DONE"} 1.0' in told
    assert 'trogdor_faults_active{node="node0"} 0.0' in told
    (journal,) = [line for line in told if line.startswith('trogdor_journal_bytes{node="node0"}')]
    assert float(journal.split()[1]) > 0


def test_every_line_of_a_log_in_json_is_an_object_and_tells_a_workers_steps(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path, "--log-format", "json").wait_until_it_answers()
    try:
        agent.send("POST", "/agent/worker/arm", _armed(in_ms=0))
        agent.until(lambda: agent.workers()["1"]["state"] == "RUNNING")
        agent.send("PUT", "/agent/worker/stop", {"workerId": 1})
        agent.done(1)
    finally:
        agent.end()
    lines = [line for line in agent.log.read_text().splitlines() if line != "Starting agent process."]
    events = [event for line in lines if (event := json.loads(line).get("event"))]
    assert [event["state"] for event in events if event["taskId"] == "t1"] == ["ARMED", "RUNNING", "DONE"]
