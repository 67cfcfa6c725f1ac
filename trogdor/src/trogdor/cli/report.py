"""``trogdor report``: one HTML file on tasks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.target import Target, coordinator

if TYPE_CHECKING:
    from trogdor.client import Client


def command(
    *,
    tasks: Annotated[list[str] | None, typer.Argument(metavar="TASK…", help="The tasks; all of them if none.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where to write it.")] = Path(
        "report.html"
    ),
    target: Target = None,
) -> None:
    """Writes a report on tasks: timeline, asked against actual, workloads around each fault, what was checked clean.

    trogdor report soak-1 load-1 -o report.html

    The file is self-contained: it can be mailed, and kept with the test's other results.
    """
    from trogdor.cli.schedule import coordinators_topology
    from trogdor.timeline.report import report

    with coordinator(target) as client:
        found = client.tasks(tasks or ())
        found |= {
            task_id: child
            for parent in {task_id.rpartition("/")[0] for task_id in tasks or () if task_id not in found} - {""}
            for task_id, child in client.children(parent).items()
            if task_id in (tasks or ())
        }
        missing = [task_id for task_id in tasks or () if task_id not in found]
        if missing or not found:
            raise Failure(
                ExitCode.BAD_USAGE, f"no such task: {', '.join(missing)}" if missing else "there are no tasks"
            )
        html = report(found, all_events(client), coordinators_topology(client), client.uptime()["nowMs"])
    try:
        output.write_text(html)
    except OSError as error:
        raise Failure(ExitCode.BAD_USAGE, f"cannot write {output}: {error.strerror}") from None
    print(output)


def all_events(client: "Client", after: int = 0) -> "list[dict[str, Any]]":
    """Every event after a number, oldest first, asked for until there are no more."""
    found: list[dict[str, Any]] = []
    while batch := client.events(after):
        found += batch
        after = int(batch[-1]["seq"])
    return found
