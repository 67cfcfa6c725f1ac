"""What was done to whom, what became of it, and the table of all that."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

CUT_OFF = "agent cut off"
AGENT_STRIKES = ("agent killed", "agent stopped", CUT_OFF)
BOTH_STRIKES = ("agent and warden killed", "agent and warden stopped")
USER_STRIKES = ("task stopped", "task destroyed")
COORDINATOR_STRIKES = ("coordinator killed", "coordinator stopped")
STRIKES = (*AGENT_STRIKES, *BOTH_STRIKES, *USER_STRIKES, *COORDINATOR_STRIKES)


@dataclass
class Case:
    """Some faults on one node at once, and what became of them."""

    strike: str
    node: str
    name: str
    start_ms: int
    lasts_ms: int
    faults: Sequence[str]
    errors: dict[str, str] = field(default_factory=dict)
    """Task → the error it ended with; empty where it had none."""
    gone_ms: float | None = None
    """How long after the fault's end, or the user's stop, nothing was left that had to be gone."""
    rest_ms: float | None = None
    """Where the next agent has to undo something: how long after its first answer all was gone."""

    @property
    def tasks(self) -> dict[str, str]:
        """Fault → its task's id."""
        return {fault: f"{self.name} {fault}" for fault in self.faults}

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.lasts_ms

    def __str__(self) -> str:
        return f"{self.name} on {self.node}"


def errors(cases: Iterable[Case], strike: str) -> list[str]:
    """How each fault's task ended that was struck so: empty where without an error."""
    return [error for case in cases if case.strike == strike for error in case.errors.values()]


def table(cases: Sequence[Case]) -> str:
    """Counts, and how late things were undone."""
    lines = [
        "ms after the fault's end, the user's stop, or (rest) the next agent's first answer; 2 or 3 faults each time",
        f"{'':26}{'times':>6}{'faults':>8}{'no error':>10}{'gone p50':>10}{'max':>7}{'rest p50':>10}{'max':>7}",
    ]
    for strike in STRIKES:
        mine = [case for case in cases if case.strike == strike]
        ended = errors(cases, strike)
        gone = [case.gone_ms for case in mine if case.gone_ms is not None]
        rest = [case.rest_ms for case in mine if case.rest_ms is not None]
        lines.append(
            f"{strike:26}{len(mine):6}{len(ended):8}{ended.count(''):10}{middle(gone):>10}{most(gone):>7}"
            f"{middle(rest):>10}{most(rest):>7}"
        )
    return "\n".join([*lines, *reasons(cases)])


def reasons(cases: Iterable[Case]) -> list[str]:
    """Why faults ended in an error, for each strike, the most frequent first."""
    found = Counter(
        (case.strike, fault, re.sub(r"[-\d.:TZ]+", "…", error))
        for case in cases
        for fault, error in case.errors.items()
        if error
    )
    return [f"{times:4} {strike}, {fault}: {error}" for (strike, fault, error), times in found.most_common()]


def middle(values: Sequence[float]) -> str:
    return f"{sorted(values)[len(values) // 2]:.0f}" if values else ""


def most(values: Sequence[float]) -> str:
    return f"{max(values):.0f}" if values else ""
