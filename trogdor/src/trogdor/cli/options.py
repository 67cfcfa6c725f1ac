"""Options that the commands which make a task share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from trogdor.cli.duration import parse_duration_ms, parse_instant_ms
from trogdor.cli.exits import ExitCode, Failure

WITHOUT_DURATION_MS = 600_000
"""What a task without a duration is given; its client's lease, or Ctrl-C, ends it before that."""

For = Annotated[
    str | None,
    typer.Option(
        "--for", metavar="DURATION", help="How long: 500ms, 30s, 5m. Without it: until Ctrl-C, 10 minutes at most."
    ),
]
In = Annotated[str | None, typer.Option("--in", metavar="DURATION", help="Start so long from now, such as 5s.")]
At = Annotated[
    str | None, typer.Option("--at", metavar="TIME", help="Start then: 14:30, 14:30:05, or an ISO time with its zone.")
]
Detach = Annotated[
    bool, typer.Option("--detach", help="Return once it is in force; it ends by itself. Needs a duration.")
]
Print = Annotated[bool, typer.Option("--print", help="Print the spec's JSON and do nothing.")]
TaskId = Annotated[str | None, typer.Option("--id", metavar="ID", help="The task's id; one is made up unless given.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, and no progress.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Of the random choices.")]


def read(given: Mapping[str, tuple[str | None, Callable[[str], Any]]]) -> dict[str, Any]:
    """The values of the options that were given: option → its text and what reads it.

    Raises Failure with every problem.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for option, (text, parse) in given.items():
        try:
            if text is not None:
                values[option] = parse(text)
        except ValueError as error:
            problems.append(f"{option}: {error}")
    if problems:
        raise Failure(ExitCode.BAD_USAGE, "\n  ".join(problems))
    return values


def refuse_invalid(spec: dict[str, Any], named: Mapping[str, str]) -> None:
    """Raises Failure with every problem of a spec's fields. ``named``: a field → the option it came from."""
    from pydantic import ValidationError

    from trogdor.spec import parse
    from trogdor.spec.problems import problems_in, shown

    try:
        parse(spec)
    except ValidationError as error:
        problems = dict.fromkeys(
            f"{next((named[str(part)] for part in path if part in named), shown(path))}: {message}"
            for path, message in problems_in(error)
        )
        raise Failure(ExitCode.BAD_USAGE, "\n  ".join(problems)) from None


@dataclass(frozen=True)
class When:
    """When a task starts and how long it lasts, as the command line said it. All in ms; None: not said."""

    duration_ms: int | None = None
    in_ms: int | None = None
    at_ms: int | None = None

    @classmethod
    def read(cls, duration: str | None, later: str | None, at: str | None) -> "When":
        """Reads ``--for``, ``--in`` and ``--at``. Raises Failure with every problem."""
        if later is not None and at is not None:
            raise Failure(ExitCode.BAD_USAGE, "--in and --at: give one of them")
        values = read(
            {
                "--for": (duration, parse_duration_ms),
                "--in": (later, parse_duration_ms),
                "--at": (at, parse_instant_ms),
            }
        )
        return cls(values.get("--for"), values.get("--in"), values.get("--at"))

    def put_into(self, spec: dict[str, Any], now_ms: int) -> dict[str, Any]:
        """The spec with its ``startMs`` and ``durationMs``; what the command line says goes before what it says.

        ``now_ms`` is the coordinator's clock. A spec without any duration lasts WITHOUT_DURATION_MS.
        """
        timed = dict(spec)
        if self.at_ms is not None:
            timed["startMs"] = self.at_ms
        elif self.in_ms is not None:
            timed["startMs"] = now_ms + self.in_ms
        timed.setdefault("startMs", 0)
        if self.duration_ms is not None:
            timed["durationMs"] = self.duration_ms
        timed.setdefault("durationMs", WITHOUT_DURATION_MS)
        fields = ("class", "startMs", "durationMs")
        return {**{name: timed[name] for name in fields if name in timed}, **timed}
