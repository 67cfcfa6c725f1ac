"""Exit codes: what each end of a task amounts to."""

from typing import Any

import pytest

from trogdor.cli.exits import ExitCode
from trogdor.cli.judge import judge, statuses_of
from trogdor.wire.status import FaultStatus

FAULT = {"class": "org.apache.kafka.trogdor.fault.NetworkPartitionFaultSpec"}
WORKLOAD = {"class": "org.apache.kafka.trogdor.workload.ExternalCommandSpec"}


def status(verdict: str = "seen", **times: Any) -> FaultStatus:
    shown = {"verdict": verdict, "askedStartMs": 1000.0, "askedEndMs": 2000.0}
    if verdict == "seen":
        shown |= {"seenStartMs": 1001.0, "seenEndMs": 2003.0, "undoneBy": "end"}
    return FaultStatus.model_validate({**shown, **times})


@pytest.mark.parametrize(
    ("why", "task", "statuses", "code"),
    [
        ("took and healed", {}, [status(), status()], ExitCode.OK),
        ("stopped early", {"cancelled": True}, [status(seenEndMs=1500.0)], ExitCode.OK),
        ("not seen on one node", {}, [status(), status("not seen: packets pass")], ExitCode.NOT_TAKEN),
        ("nothing to stop", {}, [status("unverified: no process matched")], ExitCode.NOT_TAKEN),
        ("cannot be seen", {}, [status("unverified: no agent at 1.2.3.4")], ExitCode.OK),
        ("ended in an error", {"error": "boom"}, [status()], ExitCode.NOT_TAKEN),
        ("never started", {"error": "Unknown node names: x"}, [], ExitCode.NOT_TAKEN),
        ("healed late", {}, [status(), status(seenEndMs=3500.0)], ExitCode.REMAINED),
        ("not seen to end", {}, [status(seenEndMs=None)], ExitCode.REMAINED),
        ("what remains comes first", {"error": "boom"}, [status(seenEndMs=None)], ExitCode.REMAINED),
        ("its target vanished", {}, [status(seenEndMs=None, undoneBy="gone")], ExitCode.OK),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fault(why: str, task: dict[str, Any], statuses: list[FaultStatus], code: ExitCode) -> None:
    by_node = {f"n{at}": value for at, value in enumerate(statuses)}
    assert judge({"state": "DONE", "spec": FAULT, **task}, by_node)[0] is code, why


def test_the_children_of_a_composite_are_judged() -> None:
    one, many = status().to_json(), {"n1": status().to_json(), "n2": status("not seen: packets pass").to_json()}
    children = {"drill/1": {"state": "DONE", "status": one}, "drill/2": {"state": "DONE", "status": many}}
    task: Any = {"state": "DONE", "spec": FAULT, "status": {"children": children}}
    statuses = statuses_of(task, ["n1", "n2"])
    assert list(statuses) == ["1", "2 n1", "2 n2"]
    assert judge(task, statuses) == (ExitCode.NOT_TAKEN, ["2 n2: not seen: packets pass"])


def test_an_unverified_fault_is_not_called_a_success() -> None:
    _, lines = judge({"state": "DONE", "spec": FAULT}, {"n1": status("unverified: no agent there")})
    assert lines == ["n1: unverified: no agent there"]


def test_what_remains_names_heal() -> None:
    _, lines = judge({"state": "DONE", "spec": FAULT}, {"n1": status(seenEndMs=None)})
    assert any("trogdor heal" in line for line in lines)


def test_a_workload_that_fails_is_the_users_check() -> None:
    assert judge({"state": "DONE", "spec": WORKLOAD, "error": "exited with return code 3"}, {}) == (
        ExitCode.CHECK_FAILED,
        ["exited with return code 3"],
    )
    assert judge({"state": "DONE", "spec": WORKLOAD}, {}) == (ExitCode.OK, ["done"])


def test_an_interruption_counts_once_it_is_healed() -> None:
    healed = {"n1": status(seenEndMs=1500.0)}
    assert judge({"state": "DONE", "spec": FAULT}, healed, interrupted=True)[0] is ExitCode.INTERRUPTED
    left = {"n1": status(seenEndMs=None)}
    assert judge({"state": "DONE", "spec": FAULT}, left, interrupted=True)[0] is ExitCode.REMAINED


def test_what_a_part_of_a_part_has_seen_counts() -> None:
    inner = {"children": {"s/0/0": {"status": status("not seen: packets pass").to_json()}}}
    task: Any = {"state": "DONE", "spec": {"class": "SequenceSpec"}, "status": {"children": {"s/0": {"status": inner}}}}
    code, lines = judge(task, statuses_of(task, ["n1"]))
    assert (code, lines) == (ExitCode.NOT_TAKEN, ["0 0: not seen: packets pass"])
