"""What upstream's two clients have in common: the form of what they print, and their exit codes.

Source: CoordinatorClient, AgentClient and StringFormatter of Java Trogdor 4.1.0, and their recorded output.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
import typer.core

from trogdor.cli.exits import ExitCode, Failure

AsJson = Annotated[bool, typer.Option("--json", help="Show the full response as JSON.")]
SpecText = Annotated[
    str,
    typer.Option("--spec", "-s", metavar="TASK_SPEC", help="The spec as JSON, or the path to a file with it."),
]


def target_option(port: int) -> Any:
    """The option ``--target`` of a client whose daemon listens on ``port``."""
    return typer.Option(
        "--target", "-t", metavar="TARGET", help=f"Host and port with a colon between, as example.com:{port}."
    )


class UpstreamGroup(typer.core.TyperGroup):
    """A group of commands that ends with 1 whatever goes wrong, as upstream's clients do."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().make_context(*args, **kwargs)
        except typer.TyperException as error:
            error.exit_code = 1
            raise

    def invoke(self, ctx: Any) -> Any:
        from trogdor.client import ClientError

        try:
            return super().invoke(ctx)
        except typer.TyperException as error:
            error.exit_code = 1
            raise
        except (ClientError, ValueError) as error:
            raise Failure(ExitCode.CHECK_FAILED, str(error)) from None


def date_string(at_ms: int, zone: timedelta | None = None) -> str:
    """An ISO time in the local offset of now, with as few digits of the fraction as it takes.

    Years beyond 9999 are shown in ms since the epoch.
    """
    offset = zone if zone is not None else datetime.now().astimezone().utcoffset() or timedelta()
    try:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms) + offset
    except OverflowError:
        return f"{at_ms} ms"
    fraction = f".{at_ms % 1000:03d}".rstrip("0").rstrip(".")
    return f"{at:%Y-%m-%dT%H:%M:%S}{fraction}{_say_offset(offset)}"


def _say_offset(offset: timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    if not minutes:
        return "Z"
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def duration_string(period_ms: int) -> str:
    """``1h2m3s`` in whole seconds; parts that are zero are left out, but for a lone ``0s``."""
    hours, rest_s = divmod(period_ms // 1000, 3600) if period_ms >= 0 else (0, period_ms // 1000)
    minutes, seconds = divmod(rest_s, 60) if period_ms >= 0 else (0, rest_s)
    text = (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "")
    return text + (f"{seconds}s" if seconds or not text else "")


def grid(lines: Sequence[Sequence[str]]) -> str:
    """Columns padded to their longest cell and one space more, the last one too; each line ends with a newline."""
    widths = [max(len(cell) for cell in column) + 1 for column in zip(*lines, strict=True)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + "\n" for line in lines
    )


def compact_json(value: Any) -> str:
    """JSON on one line without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def pretty_json(value: Any, indent: str = "") -> str:
    """JSON as Jackson's default pretty printer writes it: ``{\\n  "a" : [ 1, 2 ]\\n}``."""
    if isinstance(value, dict):
        inner = indent + "  "
        fields = [f"{inner}{json.dumps(key)} : {pretty_json(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(fields) + f"\n{indent}}}" if fields else "{ }"
    if isinstance(value, list):
        return f"[ {', '.join(pretty_json(item, indent) for item in value)} ]" if value else "[ ]"
    return json.dumps(value, ensure_ascii=False)


def print_uptime(daemon: str, target: str, uptime: dict[str, Any], as_json: bool) -> None:
    """What both ``uptime`` commands print."""
    if as_json:
        print(compact_json(uptime))
        return
    print(f"{daemon} is running at {target}.")
    print(f"\tStart time: {date_string(uptime['serverStartMs'])}")
    print(f"\tCurrent server time: {date_string(uptime['nowMs'])}")
    print(f"\tUptime: {duration_string(uptime['nowMs'] - uptime['serverStartMs'])}")
