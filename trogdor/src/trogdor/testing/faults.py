"""The ``fault`` fixture: short words that build specs, and ``run`` for any spec."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trogdor.cli.duration import parse_duration_ms
from trogdor.client import Client
from trogdor.hunt.check import callable_check
from trogdor.hunt.run import run_schedule
from trogdor.spec import Spec, parse
from trogdor.spec.base import UPSTREAM
from trogdor.spec.schedule import FixedScheduleSpec, RandomScheduleSpec, drawn_by
from trogdor.testing.disks import Disk
from trogdor.testing.injection import FaultDidNotTake, Injection
from trogdor.testing.recovery import Story

Names = str | Sequence[str]


class CheckFailed(AssertionError):
    """The test's check failed during a schedule or after it."""


def names_of(nodes: Any) -> list[str]:
    """Node names from a name, a node, or several of either."""
    if isinstance(nodes, str):
        return [nodes]
    if isinstance(nodes, Sequence):
        return [name for node in nodes for name in names_of(node)]
    return [str(nodes.name)]


class Faults:
    """Faults for one test. Each method returns an ``Injection`` to be used in a ``with``."""

    def __init__(self, client: Client, nodes: Sequence[str], story: Story) -> None:
        self._client = client
        self._nodes = list(nodes)
        self._story = story

    def run(self, spec: Spec | Mapping[str, Any], *, unverified: bool = False) -> Injection:
        """Any spec. ``unverified``: goes on where no probe can see the fault, instead of FaultDidNotTake."""
        document = spec.to_json() if isinstance(spec, Spec) else dict(spec)
        if not document.get("durationMs"):
            document.pop("durationMs", None)
        word = str(document.get("class", "fault")).rpartition(".")[2].removesuffix("Spec").removesuffix("Fault")
        injection = Injection(
            self._client, document, name=f"test-{word.lower()}", unverified=unverified, on_change=self._story.changed
        )
        self._story.injections.append(injection)
        return injection

    def schedule(
        self, spec: Spec | Mapping[str, Any], check: Callable[[], object] = lambda: True, *, every: str = "0ms"
    ) -> None:
        """Runs a schedule to its end; ``check`` is called each ``every`` during it, if given, and once after it.

        It fails by an exception or by False: CheckFailed, and all faults have ended. FaultDidNotTake where a fault of
        the schedule did not. JUnit's properties carry the seed and the format version.
        """
        found = spec if isinstance(spec, Spec) else parse(dict(spec))
        if not isinstance(found, RandomScheduleSpec | FixedScheduleSpec):
            raise TypeError(f"{found.class_name} is no schedule: fault.run takes it")
        self._story.schedules.append(drawn_by(found))
        task_id = f"test-schedule-{secrets.token_hex(4)}"
        with self._client.lease() as lease:
            outcome = run_schedule(
                self._client, task_id, found.to_json(), check=callable_check(check),
                every_ms=parse_duration_ms(every), lease=lease,
            )  # fmt: skip
        if outcome.result != "passed":
            kind = CheckFailed if outcome.result == "failed" else FaultDidNotTake
            raise kind(f"{drawn_by(found)} (task {task_id}): {outcome.why}")

    def partition(self, *sides: Any) -> Injection:
        """No node of one side reaches any of another, both ways: ``fault.partition("n1", ["n2", "n3"])``."""
        return self.run(
            {"class": f"{UPSTREAM}fault.NetworkPartitionFaultSpec", "partitions": [names_of(side) for side in sides]}
        )

    def isolate(self, node: Any) -> Injection:
        """A node is cut off from all the others."""
        name = names_of(node)
        return self.partition(name, [other for other in self._nodes if other not in name])

    def cut(self, source: Any, target: Any, **link: Any) -> Injection:
        """One way: packets from ``source`` do not arrive at ``target``. ``ports``, ``protocol``, ``connections`` and
        ``action`` as in CutLinksFaultSpec."""
        links = [{"from": a, "to": b, **link} for a in names_of(source) for b in names_of(target) if a != b]
        return self.run({"class": "trogdor.fault.CutLinksFaultSpec", "links": links})

    def pause(self, nodes: Any, *, tree: bool = False, **match: str) -> Injection:
        """Stops processes: ``fault.pause("n1", name="etcd")``; further fields as in ProcessMatch."""
        spec = {"class": "trogdor.fault.ProcessPauseFaultSpec", "nodeNames": names_of(nodes), "match": match}
        return self.run({**spec, "tree": tree} if tree else spec)

    def disk(
        self, disk: Disk, *operations: str, error: str = "EIO", unverified: bool = False, **files: Any
    ) -> Injection:
        """Operations on a disk of the ``kibosh`` fixture fail: ``fault.disk(disk, "fsync", prefix="/wal")``; further
        fields as in FilesFailFaultSpec. A call that needs a name (rename) is not probed: ``unverified=True``."""
        if not isinstance(disk, Disk):
            raise TypeError(f"fault.disk takes what the kibosh fixture returns, not {disk!r}")
        where = {"nodeNames": [disk.node], "mountPath": disk.path}
        spec = {"class": "trogdor.fault.FilesFailFaultSpec", **where, "operations": list(operations), "error": error}
        return self.run({**spec, **files}, unverified=unverified)

    def kill(self, nodes: Any, *, signal: str = "KILL", **match: str) -> Injection:
        """Kills processes; at the block's end they are started again as they were: ``fault.kill("n1", name="etcd")``;
        further fields as in ProcessMatch."""
        spec = {"class": "trogdor.fault.ProcessKillFaultSpec", "nodeNames": names_of(nodes), "match": match}
        return self.run({**spec, "signal": signal})

    def slow(self, source: Any, target: Any, delay: str = "0ms", jitter: str = "0ms", **link: Any) -> Injection:
        """Packets from ``source`` arrive late at ``target``: ``fault.slow("n1", "n2", delay="100ms")``; further fields
        as in DegradedLinksFaultSpec."""
        times = {"delayMs": parse_duration_ms(delay), "jitterMs": parse_duration_ms(jitter)}
        links = [{"from": a, "to": b, **times, **link} for a in names_of(source) for b in names_of(target) if a != b]
        return self.run({"class": "trogdor.fault.DegradedLinksFaultSpec", "links": links})
