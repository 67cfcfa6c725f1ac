"""Faults on many nodes at once, and those who carry them out killed, stopped or cut off at random moments.

Used by ``test_kill.py`` and ``bench/kill.py``. How late something was undone is measured to the beginning of the look
that found nothing any more.
"""

import random
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from lab.cases import BOTH_STRIKES, COORDINATOR_STRIKES, CUT_OFF, STRIKES, USER_STRIKES, Case, table
from lab.remains import LOOK_S, blocked, left_on, limited, slowed, stopped, until_gone
from lab.seeing import Listener
from trogdor.client import Client, ClientError
from trogdor.lab import Lab, Node
from trogdor.lab.daemons import AGENT_PORT
from trogdor.lab.http import answers
from trogdor.lab.node import NodeProcess

LEAD_MS = 800
"""How far ahead of its instant a fault is asked for."""
LASTS_MS = 800
FOR_EVER_MS = 600_000
BEFORE_MS, AFTER_MS = 300, 200
"""A daemon is struck from so long before the fault's instant until so long after its end."""
AROUND_MS = 20
GONE_S = 1.0
"""How long after a fault's end, a user's stop, or the next agent's first answer something may be left."""
PASS_S = 0.25
"""A way is blocked when nothing got through for so long."""
DONE_S = 90.0


class Ground:
    """A lab with its daemons up: the nodes to be struck, and two more, at the other end of their links.

    ``seed`` draws every moment. ``problems`` is empty as long as the product has kept its word.
    """

    def __init__(self, lab: Lab, seed: int) -> None:
        self.lab, self.seed = lab, seed
        self.problems: list[str] = []
        self.cases: list[Case] = []
        *self.victims, self.peer, self.slow_peer = lab.nodes
        self._open = ExitStack()
        self._watching: list[threading.Thread] = []
        self._starting = threading.Lock()
        self.late_agents = 0
        """Agents that nobody struck: on a busy machine a warden ends one that is 400 ms late."""

    def __enter__(self) -> "Ground":
        self.daemons: dict[str, NodeProcess] = self.lab.start_daemons()
        nodes = self.lab.nodes
        self._listeners = {name: self._open.enter_context(Listener(node)) for name, node in nodes.items()}
        for name in self.victims:
            self._open.enter_context(nodes[name].popen(["/bin/sleep", "86400"]))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def client(self) -> Client:
        return Client(self.lab.target, deadline_s=10.0)

    def strike_nodes(self, times: int, strikes: Collection[str] = STRIKES) -> None:
        """Each of these strikes at agents, wardens and tasks so many times, on all nodes side by side."""
        at_nodes = [strike for strike in STRIKES if strike in strikes and strike not in COORDINATOR_STRIKES]
        jobs = [(strike, number) for strike in at_nodes for number in range(times)]
        random.Random(self.seed).shuffle(jobs)
        left = deque(jobs)

        def work(node: str) -> None:
            while left and not self.problems:
                self._attempt(*left.pop(), lambda strike, number: self._strike_node(strike, number, node))

        in_parallel(work, self.victims)

    def _attempt(self, strike: str, number: int, carry_out: Callable[[str, int], None]) -> None:
        try:
            carry_out(strike, number)
        except Exception as error:  # a finding of the test, told with all others at its end
            self.problems.append(f"{strike} {number}: {type(error).__name__}: {error}")

    def _strike_node(self, strike: str, number: int, node: str) -> None:
        draw = random.Random(f"{self.seed} {strike} {number}")
        self._meet([node])
        lasts_ms = FOR_EVER_MS if strike in USER_STRIKES else LASTS_MS
        case = Case(strike, node, f"{strike} {number}", now_ms() + LEAD_MS, lasts_ms, faults_of(number))
        self._begin(case)
        if strike in USER_STRIKES:
            self._end_by_user(case, draw)
            case.gone_ms = self._until_gone(case, self._left)
        else:
            sleep_until(case.start_ms + draw.randint(-BEFORE_MS, LASTS_MS + AFTER_MS))
            self._strike_agent(case)
        self._join(case)

    def _strike_agent(self, case: Case) -> None:
        node, agent = self.lab.nodes[case.node], self.daemons[case.node]
        both = case.strike in BOTH_STRIKES
        pids = [agent.pid, *(self._wardens(case.node) if both else [])]
        if case.strike == CUT_OFF:
            with self._cut_off(node):
                self._see_it_gone(case)
            return
        send(node, "KILL" if case.strike.endswith("killed") else "STOP", pids)
        if case.strike == "agent killed":
            self._see_it_gone(case)
            self._revive(case.node)
            return
        sleep_until(case.end_ms)
        case.gone_ms = self._until_gone(case, self._left_by_kernel if both else self._felt)
        if both:
            send(node, "KILL", pids)
            self._start_again(case.node)
        else:
            self._revive(case.node)
        case.rest_ms = self._until_gone(case, self._left)

    def strike_coordinator(self, rounds: int, strikes: Collection[str] = STRIKES) -> None:
        """The coordinator killed and stopped so many times, each time at another moment of every node's faults."""
        for strike in (each for each in COORDINATOR_STRIKES if each in strikes):
            for number in range(0 if self.problems else rounds):
                self._attempt(strike, number, self._strike_coordinator)

    def _strike_coordinator(self, strike: str, number: int) -> None:
        draw = random.Random(f"{self.seed} {strike} {number}")
        self._meet(self.victims)
        struck_ms = now_ms() + LEAD_MS + LASTS_MS + AFTER_MS
        cases = [
            Case(
                strike, node, f"{strike} {number} {node}",
                struck_ms - draw.randint(-BEFORE_MS, LASTS_MS + AFTER_MS), LASTS_MS, faults_of(index),
            )
            for index, node in enumerate(self.victims)
        ]  # fmt: skip
        for case in sorted(cases, key=lambda case: case.start_ms):
            self._begin(case)
        sleep_until(struck_ms)
        killed = strike.endswith("killed")
        self.daemons["coordinator"].send_signal(signal.SIGKILL if killed else signal.SIGSTOP)
        back_s = draw.random()
        back = [threading.Timer(back_s, self._bring_back_coordinator, [killed])] if draw.random() < 0.5 else []
        for timer in back:
            timer.daemon = True
            timer.start()
        in_parallel(self._see_it_gone, cases)
        for timer in back:
            timer.join()
        if not back:
            self._bring_back_coordinator(killed)
        for case in cases:
            self._join(case)

    def _see_it_gone(self, case: Case) -> None:
        sleep_until(case.end_ms)
        case.gone_ms = self._until_gone(case, self._left)

    def _bring_back_coordinator(self, killed: bool) -> None:
        if killed:
            self._start_again("coordinator")
        else:
            self.daemons["coordinator"].send_signal(signal.SIGCONT)

    # Beginnings.

    def _meet(self, names: Sequence[str]) -> None:
        """Returns when the coordinator has these agents, and those at the other end; the dead are started again."""
        wanted = {*names, self.peer, self.slow_peer}
        with self._starting:
            for name in sorted(wanted):
                if self.daemons[name].poll() is not None:
                    self.late_agents += 1
                    self._start_again(name)

        def all_up() -> bool:
            try:
                nodes = self.client().nodes()
            except ClientError:
                return False
            return all(nodes[name]["up"] for name in wanted)

        wait(all_up, DONE_S, lambda: f"the coordinator does not meet all of {sorted(wanted)}")

    def _begin(self, case: Case) -> None:
        """Asks for the case's faults, and watches their tasks from then on."""
        node, peer, slow = case.node, self.peer, self.slow_peer
        specs: dict[str, dict[str, Any]] = {
            "cut": {"class": "NetworkPartitionFaultSpec", "partitions": [[node], [peer]]},
            "pause": {"class": "ProcessPauseFaultSpec", "nodeNames": [node], "match": {"name": "sleep"}},
            "slow": {
                "class": "DegradedLinksFaultSpec",
                "links": [{"from": slow, "to": node, "delayMs": 400}, {"from": node, "to": slow, "rateKbit": 10_000}],
            },
        }
        self.cases.append(case)
        with self.client() as client:
            for fault, task_id in case.tasks.items():
                times = {"startMs": case.start_ms, "durationMs": case.lasts_ms}
                client.create_task(task_id, {**specs[fault], **times}, check=False)
        watching = threading.Thread(target=self._watch, args=[case], name=case.name, daemon=True)
        self._watching.append(watching)
        watching.start()

    def _end_by_user(self, case: Case, draw: random.Random) -> None:
        """Stops or destroys each task at a moment of its own around the instant."""

        def end(moment: tuple[str, int]) -> None:
            task_id, at_ms = moment
            sleep_until(at_ms)
            with self.client() as client:
                (client.stop_task if case.strike == "task stopped" else client.destroy_task)(task_id)

        in_parallel(end, [(each, case.start_ms + draw.randint(-AROUND_MS, AROUND_MS)) for each in case.tasks.values()])

    def _wardens(self, node: str) -> list[int]:
        mine = [each for each in self.lab.nodes[node].processes() if each.parent == self.daemons[node].pid]
        return [each.pid for each in mine if "trogdor.warden" in each.command]

    @contextmanager
    def _cut_off(self, node: Node) -> Iterator[None]:
        """Nothing passes between a node and the coordinator, by a table of the coordinator's node."""
        rules = [
            f"add rule inet {node.name} {hook} {family} {end} {address} drop"
            for hook, end in (("input", "saddr"), ("output", "daddr"))
            for family, address in (("ip", node.address), ("ip6", node.address6))
            if address
        ]
        chains = [
            f"add chain inet {node.name} {hook} {{ type filter hook {hook} priority 0; }}"
            for hook in ("input", "output")
        ]
        lines = [f"add table inet {node.name}", *chains, *rules]
        self.lab.coordinator.exec(["nft", "-f", "-"], input="\n".join(lines), check=True)
        try:
            yield
        finally:
            self.lab.coordinator.exec(["nft", "delete", "table", "inet", node.name], check=True)

    def _revive(self, node: str) -> None:
        """Lets a stopped agent go on, or starts another where it is dead."""
        agent = self.daemons[node]
        agent.send_signal(signal.SIGCONT)
        wait(
            lambda: agent.poll() is not None or answers(self.lab.nodes[node], AGENT_PORT, "/agent/status"),
            DONE_S,
            lambda: f"the agent of {node} neither answers nor ends",
        )
        if agent.poll() is not None:
            self._start_again(node)

    def _start_again(self, name: str) -> None:
        self.daemons[name].wait(30)
        self.daemons[name].close()
        self.daemons[name] = self.lab.start_daemon(name)

    # What is left.

    def _watch(self, case: Case) -> None:
        """Until every task is DONE; the moment one is without an error, nothing of its fault may be seen."""
        try:
            with self.client() as client:
                wait(lambda: self._look_at_tasks(case, client), DONE_S, lambda: f"DONE are only {sorted(case.errors)}")
        except Exception as error:
            self.problems.append(f"{case}: {type(error).__name__}: {error}")

    def _look_at_tasks(self, case: Case, client: Client) -> bool:
        try:
            shown = client.tasks([*case.tasks.values()])
        except ClientError:
            return False
        for fault, task_id in case.tasks.items():
            task = shown.get(task_id)
            if fault in case.errors or (task is not None and task["state"] != "DONE"):
                continue
            case.errors[fault] = "" if task is None else task.get("error", "")
            if task is not None and not case.errors[fault] and (left := self._left_of(fault, case.node)):
                self.problems.append(f"{case}: {fault} is DONE without error, but: {'; '.join(left)}")
        return len(case.errors) == len(case.tasks)

    def _join(self, case: Case) -> None:
        for watching in self._watching:
            if watching.name == case.name:
                watching.join()

    def _left_of(self, fault: str, node: str) -> list[str]:
        if fault == "cut":
            return self._blocked(node, self.peer, PASS_S)
        return stopped(self.lab.nodes[node]) if fault == "pause" else slowed(self.lab.nodes[node])

    def _blocked(self, node: str, other: str, within_s: float) -> list[str]:
        """The ways between two nodes on which nothing gets through."""
        ways = ((node, other), (other, node))
        return [
            line
            for source, target in ways
            for line in blocked(self.lab.nodes[source], self._listeners[target], within_s)
        ]

    def _left(self, node: str) -> list[str]:
        """All that is left, on a node and of its links."""
        return left_on(self.lab.nodes[node]) or self._blocked(node, self.peer, PASS_S)

    def _left_by_kernel(self, node: str) -> list[str]:
        """What is felt of a fault that the kernel undoes."""
        return self._blocked(node, self.peer, PASS_S) or self._blocked(node, self.slow_peer, PASS_S)

    def _felt(self, node: str) -> list[str]:
        """What is felt of any fault: a stopped agent may keep what it has prepared, and what does nothing."""
        return stopped(self.lab.nodes[node]) or limited(self.lab.nodes[node]) or self._left_by_kernel(node)

    def _until_gone(self, case: Case, look: Callable[[str], list[str]]) -> float:
        """How many ms after now nothing was left, in time."""
        return until_gone(lambda: look(case.node), GONE_S)

    def left(self) -> list[str]:
        """What is left anywhere once all is over, and what any agent still calls a fault."""
        self._meet(self.victims)
        try:
            until_gone(lambda: [line for name in self.lab.nodes for line in self._left_at_last(name)], GONE_S)
        except AssertionError as error:
            return [str(error)]
        return []

    def over(self) -> list[Case]:
        """The cases of which nothing is left."""
        return [case for case in self.cases if case.gone_ms is not None]

    def report(self) -> str:
        """What was done, and what came of it."""
        late = f"{self.late_agents} agents were ended by their wardens and started again" if self.late_agents else ""
        return "\n".join(filter(None, [f"seed {self.seed}", table(self.over()), late]))

    def _left_at_last(self, name: str) -> list[str]:
        faults = self.lab.agent_client(name).faults()["faults"]
        return [*left_on(self.lab.nodes[name]), *(f"{name}: the agent has {fault['taskId']}" for fault in faults)]


def faults_of(number: int) -> Sequence[str]:
    """A slow link, which takes many programs to set up, is only part of every second case."""
    return ("cut", "pause", "slow") if number % 2 else ("cut", "pause")


def send(node: Node, name: str, pids: Sequence[int]) -> None:
    """A signal to processes of a node, one right after the other; those that have ended are left in peace."""
    node.exec(["/bin/kill", f"-{name}", *map(str, pids)])


def in_parallel(work: Callable[[Any], None], items: Iterable[Any]) -> None:
    """Calls ``work`` for each item in a thread of its own. Raises the first exception of any."""
    raised: list[BaseException] = []

    def one(item: Any) -> None:
        try:
            work(item)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=one, args=[item], daemon=True) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def sleep_until(at_ms: float) -> None:
    time.sleep(max(0.0, at_ms - now_ms()) / 1000)


def wait(holds: Callable[[], bool], within_s: float, why: Callable[[], str]) -> None:
    """Returns once something is so. Raises AssertionError with the reason when it is not in time."""
    until = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > until:
            raise AssertionError(why())
        time.sleep(LOOK_S)
