"""``trogdor heal``: ends every fault, through a coordinator or, with no daemon at all, on this machine."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.output import print_json
from trogdor.cli.safety import report_healed
from trogdor.cli.target import Target, coordinator

if TYPE_CHECKING:
    from trogdor.claim.heal import Healed


def command(
    *,
    target: Target = None,
    local: Annotated[
        bool, typer.Option("--local", help="Without any daemon: undo what this machine's journals and kernel hold.")
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="DIR",
            help="With --local: where agents keep their state [/var/lib/trogdor, or $XDG_STATE_HOME/trogdor].",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --local: print plain commands that would do it, and do nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ends every fault: all tasks of a coordinator, or with --local whatever is left on this machine.

    It never falls from one to the other: when no coordinator answers, run `trogdor heal --local` on each node.
    With --local it refuses while an agent lives whose journal it is: that agent heals by itself when it is ended.
    """
    from trogdor.topology import default_state

    if local:
        if target is not None:
            raise Failure(ExitCode.BAD_USAGE, "--local asks no daemon: leave -t out")
        heal_local(state or default_state(), dry_run=dry_run, as_json=as_json)
        return
    if state is not None or dry_run:
        raise Failure(ExitCode.BAD_USAGE, "--state and --dry-run go with --local")
    try:
        with coordinator(target) as client:
            answer = client.heal()
    except Failure as failure:
        if failure.code is not ExitCode.UNREACHABLE:
            raise
        hint = "\n  Without a coordinator: `trogdor heal --local`, as root, on each node."
        raise Failure(failure.code, failure.message + hint) from None
    report_healed(answer, as_json)


def heal_local(state: Path, *, dry_run: bool, as_json: bool) -> None:
    """Reconciles the journals below ``state`` down to nothing. Raises Failure when something is left."""
    from trogdor.claim.heal import heal
    from trogdor.claim.journal import JournalLocked
    from trogdor.platform import here

    try:
        healed = heal(state, here().kinds, dry_run=dry_run)
    except JournalLocked as error:
        raise Failure(
            ExitCode.IMPOSSIBLE, f"{error}\n  End it first (SIGTERM ends its faults), or use `trogdor heal`."
        ) from None
    except PermissionError as error:
        raise Failure(ExitCode.IMPOSSIBLE, f"{error.filename}: {error.strerror}; run it as root") from None
    if as_json:
        print_json([_to_json(each) for each in healed])
    else:
        print("\n".join(_lines(healed, state, dry_run=dry_run)))
    left = [f"{each.node}: {what}" for each in healed for what in each.left]
    if left:
        raise Failure(ExitCode.REMAINED, "something is left:\n  " + "\n  ".join(left))


def _lines(healed: "Sequence[Healed]", state: Path, *, dry_run: bool) -> list[str]:
    if dry_run:
        commands = [command for each in healed for command in each.commands]
        return commands or [f"# nothing is left below {state}"]
    lines = []
    for each in healed:
        lines += [f"{each.node}: undone: {what}" for what in each.found]
        lines += [f"{each.node}: the unreadable journal is now {path}" for path in each.aside]
    return lines or [f"nothing was left below {state}"]


def _to_json(healed: "Healed") -> dict[str, object]:
    return {
        "node": healed.node,
        "directory": str(healed.directory),
        "found": list(healed.found),
        "left": list(healed.left),
        "commands": list(healed.commands),
        "aside": [str(path) for path in healed.aside],
    }
