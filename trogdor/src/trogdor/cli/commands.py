"""Which commands there are, each imported only when it runs."""

import importlib
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from trogdor import __version__
from trogdor.cli.quick import for_typer


@dataclass(frozen=True)
class Entry:
    """One command: its name, the module that has it, its line in ``trogdor --help``, and the section it stands in.

    The module has a function ``attribute``, or a typer application of that name.
    """

    name: str
    module: str
    attribute: str
    help: str
    section: str


SCHEDULES = "Schedules and timelines"
FAULTS, TASKS, SAFETY, DAEMONS, HELP = "Faults", "Tasks", "Safety", "Daemons and clients", "Getting started"

ENTRIES = [
    Entry("demo", "demo", "command", "Cuts off the leader of a real etcd cluster, and heals it.", HELP),
    Entry("demo-kafka", "demo_kafka", "command", "Suspends the controller of a real Kafka cluster.", HELP),
    Entry("lab", "lab", "app", "A cluster of nodes on this machine, out of Linux namespaces.", HELP),
    Entry("doctor", "doctor", "command", "Tries out what this machine can do, and names what is missing.", HELP),
    Entry("spec", "spec", "app", "Shows what can be asked for: every spec, its fields, an example.", HELP),
    Entry("partition", "partition", "command", "Parts nodes from each other, or cuts links between them.", FAULTS),
    Entry("pause", "pause", "command", "Stops processes for a while; then they go on.", FAULTS),
    Entry("kill", "kill", "command", "Kills processes; after a while they are started again.", FAULTS),
    Entry("slow", "slow", "command", "Slows links down: delay, loss, damage, reordering, a rate.", FAULTS),
    Entry("disk", "disk", "command", "Makes a disk fail, slow, full or forgetful, where Kibosh is mounted.", FAULTS),
    Entry("run", "run", "command", "Runs a spec: JSON, a file, or - for standard input.", TASKS),
    Entry("plan", "plan", "command", "Shows what a spec would do to each node; changes nothing.", TASKS),
    Entry("faults", "faults", "command", "What is in force now, everywhere, and until when.", TASKS),
    Entry("ls", "show", "ls", "Lists the tasks.", TASKS),
    Entry("nodes", "show", "nodes", "Lists the nodes and how they are.", TASKS),
    Entry("mark", "show", "mark", "Writes a mark of your own into the events.", TASKS),
    Entry("schedule", "schedule", "app", "Faults drawn by a seed: shows them, or runs them.", SCHEDULES),
    Entry("hunt", "hunt", "command", "Seed after seed until a check fails; then the least that still does.", SCHEDULES),
    Entry("replay", "replay", "command", "Runs the tasks of a schedule that was drawn or found before.", SCHEDULES),
    Entry("watch", "watch", "command", "The live timeline, in the terminal.", SCHEDULES),
    Entry("report", "report", "command", "Writes tasks' timeline and figures into one HTML file.", SCHEDULES),
    Entry("stop", "safety", "stop", "Stops a task, or all of them, and waits until it is healed.", SAFETY),
    Entry("heal", "heal", "command", "Ends every fault: of a coordinator, or --local of this machine.", SAFETY),
    Entry("freeze", "safety", "freeze", "Refuses new faults until thawed.", SAFETY),
    Entry("thaw", "safety", "thaw", "Allows faults again after a freeze.", SAFETY),
    Entry("agent", "agent", "command", "Runs the daemon that carries out faults on a node.", DAEMONS),
    Entry(
        "coordinator", "coordinator", "command", "Runs the daemon that keeps the tasks and knows the nodes.", DAEMONS
    ),
    Entry("deploy", "deploy", "deploy", "Installs and starts daemons on machines, by ssh.", DAEMONS),
    Entry("attach", "attach", "command", "Makes nodes of running processes and containers.", DAEMONS),
    Entry("undeploy", "deploy", "undeploy", "Ends and removes what deploy installed.", DAEMONS),
    Entry("client", "upstream_coordinator", "app", "Upstream's coordinator client, word for word.", DAEMONS),
    Entry("agent-client", "upstream_agent", "app", "Upstream's agent client, word for word.", DAEMONS),
]


def load(entry: Entry) -> Any:
    """The command of an entry, its module imported."""
    found = getattr(importlib.import_module(f"trogdor.cli.{entry.module}"), entry.attribute)
    if isinstance(found, typer.Typer):
        found.rich_markup_mode = None
        return typer.main.get_command(found)
    app = plain_app()
    app.command(entry.name)(for_typer(found))
    return typer.main.get_command(app)


def plain_app(**settings: Any) -> typer.Typer:
    """A typer application as all of ours are: plain help (rich costs 0.1 s), plain tracebacks, ``-h``."""
    settings.setdefault("add_completion", False)
    settings.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
    return typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, **settings)


class LazyCommands(MutableMapping[str, Any]):
    """Name → command; a command's module is imported when it is first asked for."""

    def __init__(self) -> None:
        self.entries = {entry.name: entry for entry in ENTRIES}
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = load(self.entries[name])
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self.entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


class Commands(typer.core.TyperGroup):
    """The group of all commands; its help is written from the table, without an import."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = LazyCommands()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for section in dict.fromkeys(entry.section for entry in ENTRIES):
            rows = [(entry.name, entry.help) for entry in ENTRIES if entry.section == section]
            with formatter.section(section):
                formatter.write_dl(rows, col_max=16)


app = plain_app(cls=Commands, add_completion=True, no_args_is_help=True)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"trogdor {__version__}")
        raise typer.Exit


@app.callback(epilog="`trogdor COMMAND --help` says more. Start with: trogdor demo")
def trogdor(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Injects faults into distributed systems, sees that they take, and undoes them."""
