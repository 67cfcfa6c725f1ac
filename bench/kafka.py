"""Java Trogdor 4.1.0's workloads and ours against the same broker, its log on tmpfs: interleaved, warm, medians.

    python bench/kafka.py [--rounds N] [--scale F] [--only NAME,…]

Each run is told on standard error; Ctrl-C, or SIGTERM, ends with the row of the rounds that there are. A workload
takes one to two minutes.

One node of a lab has the broker, Java Trogdor's agent, which stays up, and our workloads, each a process of its own.
Rates are messages a second, start-up and the making of topics left out: from the log of either, else from the times of
Java's worker and of the statuses that our process writes. CPU is that of the agent during the run, and that of our
process from its first word on; what its start takes, once, is told beside. Memory is the most resident at any time.
"""

import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from trogdor.lab import Lab
from trogdor.lab.http import NodeHTTPConnection
from trogdor.lab.node import Node, NodeProcess
from trogdor.lab.recipes.jars import class_path, java_command
from trogdor.lab.recipes.kafka import Kafka

NODE = "node0"
AGENT_PORT = 18888
PREFIX = "org.apache.kafka.trogdor.workload."
DEADLINE_S = 300.0
TOPICS = {"numPartitions": 10, "replicationFactor": 1}
ONE_PARTITION = {**TOPICS, "numPartitions": 1}
"""Java's RoundTrip has a buffer of four batches, and sends one message at a time when there are more partitions."""

TOLD = re.compile(r"(?:Sent|Consumed total number).* in (\d+) ms")
"""What Java's producers and both's consumers log at their end."""

FAST = 100_000_000
"""A target that no workload reaches: it sends as fast as it can."""


@dataclass(frozen=True)
class Case:
    """One workload to measure, and the aim: at least so many times Java's rate, at most so much of its CPU."""

    name: str
    spec: dict[str, Any]
    messages: int
    rate: float
    cpu: float | None = None


def produce(size: int, topic: str) -> dict[str, Any]:
    return {
        "class": f"{PREFIX}ProduceBenchSpec", "producerNode": NODE, "targetMessagesPerSec": FAST,
        "valueGenerator": {"type": "constant", "size": size}, "activeTopics": {topic: TOPICS},
    }  # fmt: skip


CASES = (
    Case("ProduceBench 100 B", produce(100, "small"), 4_000_000, 2.0, 0.6),
    Case("ProduceBench 512 B", produce(512, "large"), 1_200_000, 1.5),
    Case(
        "ConsumeBench 512 B",
        {"class": f"{PREFIX}ConsumeBenchSpec", "consumerNode": NODE, "activeTopics": ["large"]},
        1_200_000, 1.0,
    ),
    Case(
        "RoundTrip 100 B",
        {"class": f"{PREFIX}RoundTripWorkloadSpec", "clientNode": NODE, "targetMessagesPerSec": FAST,
         "valueGenerator": {"type": "constant", "size": 100}},
        600_000, 2.0,
    ),
)  # fmt: skip
MODULES = {
    "ProduceBenchSpec": "produce_bench",
    "ConsumeBenchSpec": "consume_bench",
    "RoundTripWorkloadSpec": "round_trip",
}


@dataclass(frozen=True)
class Run:
    """What one run took."""

    seconds: float
    cpu_s: float
    peak_mib: float
    start_s: float = 0.0
    """The processor time of its start, which is not in ``cpu_s``."""


class JavaAgent:
    """Java Trogdor's agent on a node; it stays up from run to run, so that it is warm."""

    def __init__(self, node: Node) -> None:
        self._node = node
        config = {"nodes": {NODE: {"hostname": "localhost", "trogdor.agent.port": AGENT_PORT}}}
        config["platform"] = "org.apache.kafka.trogdor.basic.BasicPlatform"  # type: ignore[assignment]
        node.path("/tmp/trogdor.json").write_text(json.dumps(config))
        command = [
            *java_command(class_path("trogdor-4.1.0"), "org.apache.kafka.trogdor.agent.Agent", heap_mb=1024),
            "--agent.config", "/tmp/trogdor.json", "--node-name", NODE,
        ]  # fmt: skip
        command = [part for part in command if part not in ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")]
        self.process: NodeProcess = node.popen([part for part in command if not part.startswith("-Xms")], log="java")
        self._pid = self.process.host_pid or 0
        self._number = 0
        until(self._answers, "Java's agent")

    def _answers(self) -> bool:
        try:
            self.ask("GET", "/agent/status")
        except OSError:
            return False
        return True

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = NodeHTTPConnection(self._node, "127.0.0.1", AGENT_PORT, 30)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def run(self, spec: dict[str, Any], task_id: str) -> Run:
        """One worker to its end; its time is that of its own log, where it tells one."""
        self._number += 1
        logged, before_s = len(self._node.log("java")), processor_s(self._pid)
        spec = {**spec, "startMs": int(time.time() * 1000), "durationMs": int(DEADLINE_S * 1000)}
        self.ask("POST", "/agent/worker/create", {"workerId": self._number, "taskId": task_id, "spec": spec})
        worker: dict[str, Any] = {}

        def over() -> bool:
            worker.update(self.ask("GET", "/agent/status")["workers"][str(self._number)])
            return worker["state"] == "DONE" or TOLD.search(self._node.log("java"), logged) is not None

        until(over, f"Java's {task_id}")
        used_s = processor_s(self._pid) - before_s
        found = TOLD.search(self._node.log("java"), logged)
        seconds = int(found[1]) / 1000 if found else (worker["doneMs"] - worker["startedMs"]) / 1000
        self.ask("DELETE", f"/agent/worker?workerId={self._number}")
        if worker.get("error"):
            raise SystemExit(f"Java's {task_id}: {worker['error']}")
        return Run(seconds, used_s, self._peak_mib())

    def _peak_mib(self) -> float:
        status = Path(f"/proc/{self._pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def until(true: Any, what: str) -> None:
    """Waits for something; ends the benchmark when it never comes."""
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {DEADLINE_S:.0f} s: {what}")
        time.sleep(0.05)


def ours(node: Node, spec: dict[str, Any], task_id: str) -> Run:
    """One of our workloads, in a process of its own that another measures from within the node."""
    asked = json.dumps({"id": task_id, "workload": spec})
    told = node.exec([sys.executable, __file__, "--measure"], input=asked, timeout=DEADLINE_S, check=True).stdout
    return Run(**json.loads(told))


def measure() -> None:
    """Runs the workload on standard input, and prints how long it took from its first message on, and with what."""
    line = sys.stdin.read()
    module = MODULES[json.loads(line)["workload"]["class"].removeprefix(PREFIX)]
    command = [sys.executable, "-m", f"trogdor.workload.{module}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()
        began = last = time.monotonic()
        start_s, told = 0.0, None
        for text in process.stdout:
            start_s = start_s or processor_s(process.pid)
            message = json.loads(text)
            if "error" in message:
                raise SystemExit(message["error"])
            last = time.monotonic()
            if isinstance(message.get("status"), str):
                began = last
            told = TOLD.search(message.get("log", "")) or told
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = int(told[1]) / 1000 if told else last - began
    run = Run(seconds, used.ru_utime + used.ru_stime - start_s, used.ru_maxrss / 1024, start_s)
    print(json.dumps(asdict(run)))


def processor_s(pid: int) -> float:
    """The processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Rounds:
    """The runs of one workload, Java's and ours in turns."""

    case: Case
    messages: int
    java: list[Run] = field(default_factory=list)
    ours: list[Run] = field(default_factory=list)

    def row(self) -> str:
        """The row of the table: medians of the rates and of the CPU, the highest memory."""
        both = self.java[: len(self.ours)], self.ours
        rates = [self.messages / median(run.seconds for run in runs) / 1000 for runs in both]
        cpus = [median(run.cpu_s for run in runs) / self.messages * 1e6 for runs in both]
        peaks = [max(run.peak_mib for run in runs) for runs in both]
        start_s = median(run.start_s for run in self.ours)
        aim = f"≥ {self.case.rate:g}×" + (f", ≤ {self.case.cpu:g}×" if self.case.cpu else "")
        return (
            f"{self.case.name:<20}{rates[0]:>8.0f}{rates[1]:>8.0f}{rates[1] / rates[0]:>7.2f}×"
            f"{cpus[0]:>9.2f}{cpus[1]:>7.2f}{cpus[1] / cpus[0]:>7.2f}×{peaks[0]:>9.0f}{peaks[1]:>7.0f}"
            f"   {aim:<14}{len(self.ours)} rounds, load {os.getloadavg()[0]:.1f}, our start {start_s:.2f} s"
        )


def spec_of(case: Case, messages: int, task_id: str) -> dict[str, Any]:
    """What a run is asked for. A RoundTrip has a new topic: Java's takes what an earlier one left for its own."""
    spec = {**case.spec, "bootstrapServers": "localhost:9092", "maxMessages": messages}
    if case.spec["class"].endswith("RoundTripWorkloadSpec"):
        spec["activeTopics"] = {task_id: ONE_PARTITION}
    return spec


def compare(node: Node, agent: JavaAgent, case: Case, rounds: int, scale: float) -> None:
    """Both in turns, after one run of each that does not count; prints a row, also when it is interrupted."""
    done = Rounds(case, int(case.messages * scale))
    try:
        for number in range(rounds + 1):
            for name, runs, run in (("Java", done.java, agent.run), ("ours", done.ours, partial(ours, node))):
                task_id = f"{name}-{case.name.replace(' ', '-')}-{number}-{time.time_ns()}"
                took = run(spec_of(case, done.messages, task_id), task_id)
                rate = done.messages / took.seconds / 1000
                told = f"round {number} of {rounds}" if number else "warming up"
                print(f"  {case.name}, {told}, {name}: {rate:.0f} k messages/s", file=sys.stderr, flush=True)
                if number:
                    runs.append(took)
    finally:
        if done.ours:
            print(done.row(), flush=True)


def wanted(only: str) -> list[Case]:
    """The workloads whose names contain one of the parts that are asked for, whatever their case."""
    parts = [part.strip().lower() for part in only.split(",")]
    chosen = [case for case in CASES if any(part in case.name.lower() for part in parts)]
    if not chosen:
        raise SystemExit(f"--only {only}: no workload is called so; there are {', '.join(case.name for case in CASES)}")
    return chosen


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each that count (3)")
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the messages (1)")
    parser.add_argument("--only", default="", help="only the workloads whose names contain one of these parts")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure()
        return
    chosen = wanted(given.only)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        bench(chosen, given.rounds, given.scale)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def bench(chosen: list[Case], rounds: int, scale: float) -> None:
    """One broker, Java's agent beside it, and each workload in turn."""
    shared = "/dev/shm" if os.path.isdir("/dev/shm") else None
    retention = {
        "log.retention.bytes": "100000000", "log.segment.bytes": "50000000", "log.retention.check.interval.ms": "5000",
    }  # fmt: skip
    with (
        tempfile.TemporaryDirectory(dir=shared) as state,
        Lab(nodes=[NODE], state=state) as lab,
        Kafka(lab, config=retention, heap_mb=1024),
    ):
        node = lab.node(NODE)
        agent = JavaAgent(node)
        print(f"{'':<20}{'k messages/s':>16}{'':>8}{'µs CPU a message':>16}{'':>8}{'peak MiB':>15}")
        print(
            f"{'':<20}{'Java':>8}{'ours':>8}{'':>8}{'Java':>9}{'ours':>7}{'':>8}{'Java':>9}{'ours':>7}   aim",
            flush=True,
        )
        for case in chosen:
            if case.spec["class"].endswith("ConsumeBenchSpec"):
                fill(node, case, int(case.messages * scale))
            compare(node, agent, case, rounds, scale)


def fill(node: Node, case: Case, messages: int) -> None:
    """Produces what a consumer is to find."""
    print(f"  {case.name}: its topic is filled", file=sys.stderr, flush=True)
    (topic,) = case.spec["activeTopics"]
    spec = {**produce(512, topic), "bootstrapServers": "localhost:9092", "maxMessages": messages}
    ours(node, spec, f"fill-{time.time_ns()}")


if __name__ == "__main__":
    main()
