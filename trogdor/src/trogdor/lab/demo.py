"""The main job on a real cluster: etcd's leader is cut off, another is elected, everything is healed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trogdor.lab import traces
from trogdor.lab.daemons import AGENT_PORT
from trogdor.lab.lab import Lab
from trogdor.lab.recipes.etcd import Etcd, EtcdError

if TYPE_CHECKING:
    from trogdor.client import Client

Say = Callable[[str, str], None]

LEAD_MS = 2000
_ATTEMPTS = 5
_WRITE_PERIOD_S = 0.1
_WRITE_TIMEOUT_S = 0.5
_WATCH_PERIOD_S = 0.02
_DONE_TIMEOUT_S = 30.0
_AGREE_TIMEOUT_S = 20.0
_DAEMON_END_TIMEOUT_S = 10.0


@dataclass
class Report:
    """What was seen. Times are ms since the epoch, by the machine's clock; `problems` is empty if all went well."""

    leader: str = ""
    new_leader: str | None = None
    new_leader_ms: float | None = None
    """From the fault's start, as seen, to the first sight of the new leader."""
    asked_start_ms: float = 0
    asked_end_ms: float = 0
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Each node's status of the task."""
    acknowledged: int = 0
    failed: int = 0
    missing: list[str] = field(default_factory=list)
    """Keys whose write was acknowledged, and that are not there."""
    longest_gap_ms: float = 0
    """The longest time between two acknowledgements."""
    clean: list[str] = field(default_factory=list)
    """What was looked for at the end and not found."""
    problems: list[str] = field(default_factory=list)

    def check(self, what: str, found: list[str]) -> None:
        """Put down what was looked for: as clean, or as the problems that were found."""
        if found:
            self.problems += [f"{what}: {each}" for each in found]
        else:
            self.clean.append(what)


class Writer:
    """A client on the coordinator's machine: ten writes a second, through one member as long as it serves."""

    def __init__(self, lab: Lab, etcd: Etcd, first: str, say: Say) -> None:
        self._client, self._etcd, self._say = lab.coordinator, etcd, say
        self._members = [first, *(name for name in lab.nodes if name != first)]
        self.acknowledged: list[str] = []
        self.failed = 0
        self.longest_gap_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        last = due = time.monotonic()
        number = 0
        stalled = False
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + _WRITE_PERIOD_S, time.monotonic())
            number += 1
            key = f"demo/{number:06d}"
            member = self._members[0]
            try:
                self._etcd.put(key, str(number), member, client=self._client, timeout_s=_WRITE_TIMEOUT_S)
            except EtcdError as error:
                self.failed += 1
                self._members.append(self._members.pop(0))
                if not stalled:
                    self._say("writes", f"stall: {error}; trying the other members")
                stalled = True
                continue
            now = time.monotonic()
            self.longest_gap_s = max(self.longest_gap_s, now - last)
            if stalled:
                self._say("writes", f"go on through {member} after {now - last:.1f} s without")
            stalled, last = False, now
            self.acknowledged.append(key)

    def close(self) -> None:
        """Finish the write under way, and stop."""
        self._stop.set()
        self._thread.join()


class LeaderWatch:
    """Who leads, as each member sees it, asked over its own loopback fifty times a second."""

    def __init__(self, lab: Lab, etcd: Etcd, say: Say) -> None:
        self._etcd, self._say = etcd, say
        self.members = list(lab.nodes)
        self.seen: dict[str, str | None] = {}
        self.changes: list[tuple[float, str, str | None]] = []
        """When (ms since the epoch), seen by which member, who leads."""
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(name,), daemon=True) for name in self.members]
        for thread in self._threads:
            thread.start()

    def _watch(self, member: str) -> None:
        while not self._stop.wait(_WATCH_PERIOD_S):
            try:
                leader = self._etcd.leader(member, timeout_s=1.0)
            except EtcdError:
                continue
            if member in self.seen and self.seen[member] == leader:
                continue
            self.changes.append((time.time() * 1000, member, leader))
            if member in self.seen:
                self._say(member, "leads" if leader == member else f"follows {leader}" if leader else "has no leader")
            self.seen[member] = leader

    def agree(self) -> bool:
        """Whether all members see the same leader now."""
        leaders = set(self.seen.values())
        return len(self.seen) == len(self.members) and len(leaders) == 1 and None not in leaders

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def run(say: Say, nodes: int = 3, duration_ms: int = 5000) -> Report:
    """Run the demonstration in a lab of its own; `say(node, what)` is called as things happen.

    Raises LabError when lab, daemons or etcd cannot be started, and what the client raises.
    """
    report = Report()
    with Lab(nodes) as lab:
        say("lab", f"{nodes} nodes and the coordinator's are up")
        with Etcd(lab) as etcd:
            leader = etcd.leader() or "n1"
            say(leader, "leads an etcd cluster of all nodes")
            daemons = lab.start_daemons()
            say("lab", "a coordinator, and an agent on each node, answer")
            watch, writer = LeaderWatch(lab, etcd, say), Writer(lab, etcd, leader, say)
            try:
                _cut_off_leader(lab.client(), watch, report, say, duration_ms)
                _wait(watch.agree, _AGREE_TIMEOUT_S)
                time.sleep(5 * _WRITE_PERIOD_S)
            finally:
                writer.close()
                watch.close()
            _judge_cluster(report, etcd, watch, writer)
        _check_nodes(report, lab)
        for process in daemons.values():
            process.terminate()
        ends = {name: process.wait(_DAEMON_END_TIMEOUT_S) for name, process in daemons.items()}
        report.check("every daemon ended by itself", [f"{name} with {code}" for name, code in ends.items() if code])
        tables = {name: traces.nft_tables(node) for name, node in lab.nodes.items()}
        report.check("no node has a rule of nftables", [f"{name}: {found}" for name, found in tables.items() if found])
        left = {name: lab.node(name).processes() for name in daemons}
        report.check("no process is left in a node", [f"{name}: {found}" for name, found in left.items() if found])
        places = [lab.state, lab.runtime]
    report.check("no file of the lab is left", [str(place) for place in places if place.exists()])
    return report


def _cut_off_leader(client: Client, watch: LeaderWatch, report: Report, say: Say, duration_ms: int) -> None:
    """Cut off whoever leads; anew, if the lead has changed hands before the cut, as it may on a busy machine."""
    for attempt in range(1, _ATTEMPTS + 1):
        _wait(watch.agree, _AGREE_TIMEOUT_S)
        report.leader = watch.seen[watch.members[0]] or watch.members[0]
        report.nodes = {}
        with client.lease() as lease:
            task_id = f"cut-off-{report.leader}-{attempt}"
            client.create_task(task_id, _spec(client, watch.members, report, say, duration_ms), lease)
            time.sleep(max(0.0, report.asked_start_ms / 1000 - 0.1 - time.time()))
            if not watch.agree() or watch.seen[report.leader] != report.leader:
                say("task", f"stopped before it began: {report.leader} leads no longer")
                client.stop_task(task_id)
                continue
            _follow(client, task_id, report, say)
        return
    report.problems.append(f"no leader stayed for {LEAD_MS} ms in {_ATTEMPTS} attempts")


def _spec(client: Client, nodes: list[str], report: Report, say: Say, duration_ms: int) -> dict[str, Any]:
    others = [name for name in nodes if name != report.leader]
    report.asked_start_ms = client.uptime()["nowMs"] + LEAD_MS
    report.asked_end_ms = report.asked_start_ms + duration_ms
    say(
        "task",
        f"{report.leader} is to be parted from {' and '.join(others)} in {LEAD_MS / 1000:g} s,"
        f" for {duration_ms / 1000:g} s",
    )
    return {
        "class": "org.apache.kafka.trogdor.fault.NetworkPartitionFaultSpec",
        "startMs": report.asked_start_ms,
        "durationMs": duration_ms,
        "partitions": [[report.leader], others],
    }


def _follow(client: Client, task_id: str, report: Report, say: Say) -> None:
    until = report.asked_end_ms / 1000 + _DONE_TIMEOUT_S
    while True:
        task = client.task(task_id)
        _say_changes(task.get("status"), report, say)
        if task["state"] == "DONE":
            break
        if time.time() > until:
            report.problems.append(f"the task is still {task['state']}; `trogdor heal` would end it")
            return
        time.sleep(_WATCH_PERIOD_S)
    if task.get("error"):
        report.problems.append(f"the task failed: {task['error']}")


def _say_changes(status: Any, report: Report, say: Say) -> None:
    for node, now in status.items() if isinstance(status, dict) else ():
        if not isinstance(now, dict) or "verdict" not in now:
            continue
        before = report.nodes.get(node, {})
        if now["verdict"] != before.get("verdict") and now["verdict"] != "armed":
            say(node, f"cut: {now['verdict']}{_lag(now, 'Start')}")
        if now.get("seenEndMs") and not before.get("seenEndMs"):
            say(node, f"open again{_lag(now, 'End')}")
        report.nodes[node] = now


def _lag(status: dict[str, Any], which: str) -> str:
    asked, seen = status.get(f"asked{which}Ms"), status.get(f"seen{which}Ms")
    return f", {seen - asked:+.1f} ms beside the instant" if asked and seen else ""


def _judge_cluster(report: Report, etcd: Etcd, watch: LeaderWatch, writer: Writer) -> None:
    began_ms = min((status.get("seenStartMs") or report.asked_start_ms for status in report.nodes.values()), default=0)
    for at_ms, _, leader in watch.changes:
        if at_ms >= report.asked_start_ms and leader not in (None, report.leader):
            report.new_leader, report.new_leader_ms = leader, at_ms - began_ms
            break
    else:
        report.problems.append(f"the leader never changed: {report.leader} leads from first to last")
    if not watch.agree():
        report.problems.append(f"the members disagree about the leader: {watch.seen}")
    for node in watch.members:
        verdict = report.nodes.get(node, {}).get("verdict", "no status")
        if not verdict.startswith(("seen", "unverified")):
            report.problems.append(f"the fault did not take on {node}: {verdict}")
    report.acknowledged, report.failed = len(writer.acknowledged), writer.failed
    report.longest_gap_ms = writer.longest_gap_s * 1000
    there = [set(etcd.keys("demo/", node)) for node in watch.members]
    report.missing = [key for key in writer.acknowledged if not all(key in keys for keys in there)]
    if report.missing:
        report.problems.append(f"{len(report.missing)} acknowledged writes are missing: {report.missing[:5]}")


def _check_nodes(report: Report, lab: Lab) -> None:
    report.check("every node reaches every other", traces.unreachable(lab.nodes.values(), AGENT_PORT))
    report.check("no process is stopped", [line for node in lab.nodes.values() for line in traces.stopped(node)])


def _wait(is_so: Callable[[], bool], timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while not is_so() and time.monotonic() < until:
        time.sleep(_WATCH_PERIOD_S)
