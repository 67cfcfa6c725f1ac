"""The options of the commands that run daemons, described once: for typer, and for those who cannot wait for it."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_args


class Option:
    """An option of a command: its names, what stands for its value, and what it is for. Stands in ``Annotated``."""

    def __init__(self, *flags: str, help: str, metavar: str | None = None) -> None:
        self.flags = flags
        self.help = help
        self.metavar = metavar


def values_of(command: Callable[..., Any], words: list[str]) -> dict[str, Any] | None:
    """The arguments of a command whose options are all ``Option``; None where the words are not plainly right."""
    named = {flag: (name, kind) for name, kind, option in _options_of(command) for flag in option.flags}
    if not named:  # they are typer's already
        return None
    values: dict[str, Any] = {}
    following = iter(words)
    for word in following:
        flag, is_joined, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if flag not in named:
            return None
        name, kind = named[flag]
        if kind is bool:
            value = "yes"
        elif not is_joined:
            value = next(following, "")
        if not value or value.startswith("-") or (kind is bool and is_joined):
            return None
        values[name] = kind(value)
    wanted = {name for name, _, _ in _options_of(command)} - (command.__kwdefaults__ or {}).keys()
    return values if wanted <= values.keys() else None


def for_typer(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, its options said as typer reads them."""
    import typer

    for name, _, option in list(_options_of(command)):
        kind = command.__annotations__[name].__origin__
        said = typer.Option(*option.flags, help=option.help, metavar=option.metavar)
        command.__annotations__[name] = Annotated[kind, said]
    return command


def _options_of(command: Callable[..., Any]) -> Iterator[tuple[str, type, Option]]:
    """Name, type and description of each."""
    for name, hint in command.__annotations__.items():
        for option in getattr(hint, "__metadata__", ()):
            if isinstance(option, Option):
                kind = hint.__origin__
                yield name, get_args(kind)[0] if get_args(kind) else kind, option
