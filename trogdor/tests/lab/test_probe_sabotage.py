"""Each probe is shown to fail: agents whose faults are disabled, or taken away behind their backs, are found out."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lab.agents import MS, LabAgent, boot_ns, peers, running_agents
from trogdor.lab import Lab

AHEAD_MS = 1500
LINKS = "trogdor.fault.CutLinksFaultSpec"
KILL = "trogdor.fault.ProcessKillFaultSpec"
DEGRADED = "trogdor.fault.DegradedLinksFaultSpec"
PAUSE = "trogdor.fault.ProcessPauseFaultSpec"
REMOVE = "/var/lib/trogdor/remove"
SABOTAGED = """
import os, threading, time
from trogdor.platform.linux import cut, kill, qdisc, queue, stop
def remove(apply, resource, bases, now_ns):
    while not os.path.exists("REMOVE"):
        time.sleep(0.01)
    apply(resource, [], bases, now_ns)
for kind in (cut.Cut, kill.Kill, qdisc.Qdisc, queue.PacketQueue, stop.Stop):
    def applied(self, claims, bases, now_ns, apply=kind.apply):
        if claims and os.path.exists("REMOVE"):
            return {}
        if claims:
            threading.Thread(target=remove, args=(apply, self, dict(bases), now_ns), daemon=True).start()
        return apply(self, claims, bases, now_ns)
    kind.apply = applied
from trogdor.cli.main import main
main()
""".replace("REMOVE", REMOVE)
"""An agent whose faults do nothing while a file exists, and lose their hold when it appears."""

FAULTS = {
    "tcp": {"class": LINKS, "links": [{"from": "n2", "to": "n1", "protocol": "tcp"}]},
    "udp": {"class": LINKS, "links": [{"from": "n2", "to": "n1", "protocol": "udp"}]},
    "all": {"class": LINKS, "links": [{"from": "n2", "to": "n1"}]},
    "new": {"class": LINKS, "links": [{"from": "n2", "to": "n1", "connections": "new"}]},
    "icmp": {"class": LINKS, "links": [{"from": "n2", "to": "n1", "protocol": "icmp"}]},
    "lost": {"class": DEGRADED, "links": [{"from": "n2", "to": "n1", "lossPercent": 80}]},
    "twice": {"class": DEGRADED, "links": [{"from": "n2", "to": "n1", "duplicatePercent": 80}]},
    "slow": {"class": DEGRADED, "links": [{"from": "n2", "to": "n1", "delayMs": 300, "protocol": "tcp"}]},
    "rate": {"class": DEGRADED, "links": [{"from": "n1", "to": "n2", "rateKbit": 1000}]},
    "jitter": {"class": DEGRADED, "links": [{"from": "n2", "to": "n1", "jitterMs": 200}]},
    "kill": {"class": KILL, "nodeNames": ["n1"], "match": {"name": "sleep"}},
    "process": {"class": PAUSE, "nodeNames": ["n1"], "match": {"name": "sleep"}},
}
WHY = {
    **dict.fromkeys(("tcp", "udp", "all", "new", "icmp"), "the rule that cuts it is not there any more"),
    "process": "somebody let it go on",
    **dict.fromkeys(("kill", "lost", "twice", "slow", "jitter", "rate"), ""),
}
"""What the resource itself finds."""


@pytest.fixture(scope="module")
def agents(lab: Lab) -> Iterator[dict[str, LabAgent]]:
    with running_agents(lab, ["n1", "n2"], ["-c", SABOTAGED]) as agents:
        yield agents


@pytest.fixture
def trigger(lab: Lab, agents: dict[str, LabAgent]) -> Iterator[Path]:
    path = lab.node("n1").path(REMOVE)
    yield path
    agents["n1"].forget_all()
    path.unlink(missing_ok=True)


@pytest.fixture
def sleeping(lab: Lab) -> Iterator[None]:
    node = lab.node("n1")

    def asleep() -> list[str]:
        return [str(each.pid) for each in node.processes() if each.command == "sleep 3600" and each.state != "Z"]

    with closing(node.popen(["sleep", "3600"])):
        yield
        while pids := asleep():  # one that was killed has been started again as another
            node.exec(["kill", "-KILL", *pids])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_disabled_fault_is_not_seen_and_an_error(
    agents: dict[str, LabAgent], sleeping: None, trigger: Path, fault: str
) -> None:
    trigger.touch()
    agents["n1"].arm(1, FAULTS[fault], boot_ns() + AHEAD_MS * MS, 60_000, peers=peers(agents))
    shown = agents["n1"].done(1)
    assert shown["status"]["verdict"].startswith("not seen: "), shown
    assert shown["error"].startswith("not seen: ")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_taken_away_behind_our_back_is_found_out(
    agents: dict[str, LabAgent], sleeping: None, trigger: Path, fault: str
) -> None:
    agents["n1"].arm(1, FAULTS[fault], boot_ns() + AHEAD_MS * MS, 60_000, peers=peers(agents))
    assert agents["n1"].verdict(1)["status"]["verdict"] == "seen"
    trigger.touch()
    shown = agents["n1"].done(1)
    assert "again" in shown["error"] or "as before" in shown["error"]
    assert WHY[fault] in shown["error"]
    assert shown["status"]["verdict"] == shown["error"]
