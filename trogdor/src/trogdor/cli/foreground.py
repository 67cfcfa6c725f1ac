"""Runs a task from the command line: under a lease, watched until it is healed; or detached."""

import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.judge import NO_PROCESS, did_not_take, is_composite, is_decided, judge, outcome_json, statuses_of
from trogdor.cli.options import When
from trogdor.cli.output import print_json
from trogdor.cli.progress import Progress
from trogdor.cli.target import coordinator

if TYPE_CHECKING:
    from trogdor.client import Client, Lease, Task
    from trogdor.wire.status import FaultStatus

POLL_S = 0.1
SILENCE_S = 7.0
"""A coordinator that restarts is waited for so long; its leases have 5 s to come back."""
HEAL_DEADLINE_S = 15.0
TAKEN_DEADLINE_S = 10.0

Statuses = Mapping[str, "FaultStatus"]


def run_spec(
    spec: dict[str, Any],
    when: When,
    *,
    target: str | None,
    word: str,
    task_id: str | None = None,
    detach: bool = False,
    only_print: bool = False,
    as_json: bool = False,
) -> None:
    """Does what every verb that makes a task does with its spec, and ends with the exit code.

    ``word`` starts the task's id when none is given. Raises Failure, SystemExit.
    """
    if detach and when.duration_ms is None and "durationMs" not in spec:
        raise Failure(ExitCode.BAD_USAGE, "--detach needs --for: nobody would end it")
    if only_print and not when.in_ms:
        print_json(when.put_into(spec, 0))
        return
    with coordinator(target) as client:
        timed = when.put_into(spec, client.uptime()["nowMs"])
        if only_print:
            print_json(timed)
            return
        task = Run(client, task_id or f"{word}-{secrets.token_hex(3)}", timed, Progress(shown=not as_json))
        code, lines = task.detached() if detach else task.attended()
    if as_json:
        print_json(outcome_json(task.task_id, task.last, code, lines))
    else:
        task.conclude(code, lines)
    raise SystemExit(int(code))


class Run:
    """One task, from its check to its end."""

    def __init__(self, client: "Client", task_id: str, spec: dict[str, Any], progress: Progress) -> None:
        self.client = client
        self.task_id = task_id
        self.spec = spec
        self.progress = progress
        self.nodes = checked_nodes(client, task_id, spec)
        self.created = False
        self.last: Task = {"state": "PENDING", "spec": spec}

    def attended(self) -> tuple[ExitCode, list[str]]:
        """Runs it under a lease until it is healed. Ctrl-C, SIGTERM and SIGHUP heal it."""
        from trogdor.client import Unreachable

        try:
            with signals_interrupt(), self.client.lease() as lease:
                try:
                    self._create(lease)
                    return judge(*self._follow(_is_done))
                except KeyboardInterrupt:
                    self.client.close()  # its answer may be half read
                    self.progress.say("interrupted: healing; Ctrl-C again leaves it to the coordinator")
                    return self._heal()
        except Unreachable as error:
            raise self._lost(error) if self.created else error from None

    def detached(self) -> tuple[ExitCode, list[str]]:
        """Creates it, and returns once it is in force everywhere, or waits for its time."""
        self._create(None)
        starts_later = self.spec["startMs"] > self.client.uptime()["nowMs"]
        if not starts_later:
            try:
                task, statuses = self._follow(self._is_taken, TAKEN_DEADLINE_S)
            except TimeoutError as error:
                return ExitCode.NOT_TAKEN, [str(error)]
            if _is_done(task, statuses):
                return judge(task, statuses)
            missed = [f"{node}: {status.verdict}" for node, status in statuses.items() if did_not_take(status)]
            if missed:
                return ExitCode.NOT_TAKEN, missed
        return ExitCode.OK, [f"`trogdor stop {self.task_id}` ends it early"]

    def conclude(self, code: ExitCode, lines: list[str]) -> None:
        """Prints how it ended; what is wrong goes to standard error."""
        self.progress.close()
        if code in (ExitCode.OK, ExitCode.INTERRUPTED):
            print("\n".join(lines))
        else:
            raise Failure(code, f"{self.task_id}: " + "\n  ".join(lines))

    def _create(self, lease: "Lease | None") -> None:
        from trogdor.spec.schedule import drawn_by_json

        self.created = True
        if drawn_by := drawn_by_json(self.spec):
            self.progress.say(f"schedule: {drawn_by}")
        self.client.create_task(self.task_id, self.spec, lease, check=False)
        name = str(self.spec["class"]).rpartition(".")[2]
        self.progress.say(f"{self.task_id}  {name}" + (f" on {' '.join(self.nodes)}" if self.nodes else ""))

    def _heal(self) -> tuple[ExitCode, list[str]]:
        from trogdor.client import NotFound

        try:
            self.client.stop_task(self.task_id)
            task, statuses = self._follow(_is_done, HEAL_DEADLINE_S)
        except NotFound:
            return ExitCode.INTERRUPTED, ["interrupted before it was created"]
        except (TimeoutError, KeyboardInterrupt) as error:
            return ExitCode.REMAINED, [str(error) or "not waited for", "`trogdor faults` shows what is in force."]
        return judge(task, statuses, interrupted=True)

    def _follow(
        self, until: "Callable[[Task, Statuses], bool]", deadline_s: float | None = None
    ) -> "tuple[Task, Statuses]":
        """Watches until ``until``. Raises TimeoutError after ``deadline_s``, Unreachable when the daemon is gone."""
        from trogdor.client import Unreachable

        end = None if deadline_s is None else time.monotonic() + deadline_s
        heard = time.monotonic()
        while end is None or time.monotonic() < end:
            try:
                self.last = self.client.task(self.task_id)
                heard = time.monotonic()
            except Unreachable:
                if time.monotonic() - heard > SILENCE_S:
                    raise
            statuses = statuses_of(self.last, self.nodes)
            self.progress.report(self.last, statuses)
            if until(self.last, statuses):
                return self.last, statuses
            time.sleep(POLL_S)
        raise TimeoutError(f"still {self.last['state']} after {deadline_s:g} s")

    def _is_taken(self, task: "Task", statuses: Statuses) -> bool:
        if _is_done(task, statuses) or (is_composite(task) and task["state"] != "PENDING"):
            return True
        if task["state"] == "PENDING" or (statuses.keys() != set(self.nodes) and ".fault." in self.spec["class"]):
            return False
        return all(is_decided(status) for status in statuses.values())

    def _lost(self, error: Exception) -> Failure:
        return Failure(
            ExitCode.UNREACHABLE,
            f"{error}\n  Task {self.task_id} may still be in force; its faults end by themselves, at their time or 5 s "
            "after its lease is gone.\n  `trogdor heal` ends them once the coordinator is back, `trogdor heal --local` "
            "on a node.",
        )


def _is_done(task: "Task", _: Statuses) -> bool:
    return task["state"] == "DONE"


def checked_nodes(client: "Client", task_id: str, spec: dict[str, Any]) -> list[str]:
    """The nodes a task would run on. Raises Failure with every problem of its spec; nothing was created.

    One that starts now must find something to act on: a pause that no process matches is refused.
    """
    from trogdor.client import NotFound

    try:
        answer = client.plan(task_id, spec)
    except NotFound:  # a Java coordinator
        return []
    problems = answer["problems"]
    if not problems and spec["startMs"] <= 0:
        problems = [problem for node, plan in answer["plans"].items() for problem in _problems_of(node, plan)]
    if problems:
        raise refusal(client, problems)
    return list(answer["nodes"])


def _problems_of(node: str, plan: dict[str, Any]) -> list[dict[str, str]]:
    """Why a node's plan would come to nothing."""
    if plan["problem"]:
        return [{"path": "", "message": f"node {node}: {plan['problem']}", "kind": "impossible"}]
    if not plan["claims"] and NO_PROCESS in plan["unverified"]:
        return [{"path": "", "message": f"node {node}: {plan['unverified']}", "kind": "no process"}]
    return []


def refusal(client: "Client", problems: list[dict[str, str]]) -> Failure:
    """The Failure that lists a check's problems, with the nearest names for unknown nodes."""
    lines = [
        f"{problem['path']}: {problem['message']}" if problem["path"] else problem["message"] for problem in problems
    ]
    if any("nknown node name" in line for line in lines):
        lines += suggestions("\n".join(lines), list(client.nodes()))
    kinds = {problem.get("kind", "spec") for problem in problems}
    code = _CODES[kinds.pop()] if len(kinds) == 1 else ExitCode.BAD_USAGE
    return Failure(code, "nothing was done:\n  " + "\n  ".join(lines))


_CODES = {
    "spec": ExitCode.BAD_USAGE,
    "unreachable": ExitCode.UNREACHABLE,
    "impossible": ExitCode.IMPOSSIBLE,
    "no process": ExitCode.NOT_TAKEN,
}
"""Kind of problem → exit code. Problems of several kinds are bad usage."""


def suggestions(message: str, nodes: list[str]) -> list[str]:
    """For a message ``Unknown node names: a, b``: the nearest nodes there are, or all of them."""
    from difflib import get_close_matches

    lines = []
    for wanted in message.partition("nknown node names: ")[2].partition("\n")[0].split(", "):
        near = get_close_matches(wanted, nodes, n=3, cutoff=0.5)
        if near:
            lines.append(f"for {wanted}, did you mean {' or '.join(near)}?")
    return lines or [f"the nodes are: {' '.join(nodes[:20])}" + (" …" if len(nodes) > 20 else "")]


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP act as Ctrl-C in the block; what is ignored (nohup) stays ignored."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    heard = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
