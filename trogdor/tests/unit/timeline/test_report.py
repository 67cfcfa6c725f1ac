"""The report: one file, nothing from outside it, and everything that was asked, seen and undone."""

import re
from html.parser import HTMLParser
from typing import Any

from trogdor.timeline.collect import topology_of_names
from trogdor.timeline.report import report

TOPOLOGY = topology_of_names(["n1", "n2"])
FAULT = {"verdict": "seen", "askedStartMs": 10_000.0, "askedEndMs": 20_000.0, "seenStartMs": 10_001.5,
         "seenEndMs": 20_002.5, "undoneBy": "end", "via": ["SIGSTOP"]}  # fmt: skip


def tasks(**fields: Any) -> dict[str, Any]:
    spec = {"class": "trogdor.fault.ProcessPauseFaultSpec", "startMs": 10_000, "durationMs": 10_000,
            "nodeNames": ["n1"], "match": {"name": "etcd"}}  # fmt: skip
    return {"p1": {"state": "DONE", "spec": spec, "startedMs": 10_000, "doneMs": 20_003, "status": FAULT, **fields}}


def attributes(html: str) -> set[str]:
    """The names of all attributes of all elements."""
    found: set[str] = set()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.update(name for name, _ in attrs)  # type: ignore[method-assign]
    parser.feed(html)
    return found


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", html)))


def test_it_says_what_was_asked_when_it_began_and_what_undid_it() -> None:
    html = report(tasks(), [], TOPOLOGY, now_ms=30_000)
    assert "p1 ProcessPause n1 0.000 s 10.000 s +1.5 ms +2.5 ms seen" in words(html)
    assert "p1 ProcessPause n1 end SIGSTOP gone" in words(html)
    assert "No error; faults seen: 1" in words(html)


def test_nothing_in_it_comes_from_elsewhere_or_runs() -> None:
    evil = tasks(error="<script>alert(1)</script>", status=None)
    html = report(evil, [{"atMs": 12_000, "type": "mark", "text": "<img src=http://x>"}], TOPOLOGY, now_ms=30_000)
    assert "<script" not in html
    assert "<img" not in html
    assert not attributes(html) & {"src", "href", "srcset", "onload", "onclick"}
    assert not re.findall(r"url\((?!#)", html)


def test_a_schedules_seed_and_format_version_and_a_failed_check_stand_at_the_top() -> None:
    schedule = {"class": "trogdor.schedule.FixedScheduleSpec", "startMs": 10_000, "durationMs": 10_000, "seed": 7,
                "formatVersion": 1, "tasks": []}  # fmt: skip
    mark = {"atMs": 12_000, "type": "mark", "text": "check failed: lost a write"}
    html = report({"s": {"state": "DONE", "spec": schedule, "status": {"children": tasks()}}}, [mark], TOPOLOGY, 30_000)
    top = words(html).partition("Timeline")[0]
    assert "seed 7, format version 1 (s)." in words(html).partition("Timeline")[0]
    assert "check failed: lost a write" in top + words(html)
    assert "ProcessPause" in words(html)


def test_a_workloads_rates_are_told_before_during_and_after_each_fault() -> None:
    counts = [
        (second * 1000, second * 100 if second <= 10 else 1000 + max(0, second - 20) * 50) for second in range(31)
    ]
    events = [
        {"atMs": at, "type": "sample", "taskId": "load", "node": "n2", "count": sent, "averageLatencyMs": 2.0}
        for at, sent in counts
    ]
    spec = {"class": "trogdor.none", "startMs": 0, "durationMs": 30_000}
    both = {**tasks(), "load": {"state": "DONE", "spec": spec, "startedMs": 1, "doneMs": 30_000, "status": None}}
    said = words(report(both, events, TOPOLOGY, now_ms=31_000))
    assert "ProcessPause, p1 load n2 a second 100 / 100 / 100 0 / 0 / 0 50 / 50 / 50" in said
    assert "ProcessPause, p1 load n2 mean latency, ms 2.0 / 2.0 / 2.0 – 2.0 / 2.0 / 2.0" in said


def test_a_fault_stopped_before_its_time_is_not_told_as_early_healing() -> None:
    stopped = {**FAULT, "seenEndMs": 10_501.5, "undoneBy": "stop"}
    said = words(report(tasks(status=stopped, cancelled=True), [], TOPOLOGY, now_ms=30_000))
    assert "stop after 0.500 s" in said
    assert "healed late" not in said
