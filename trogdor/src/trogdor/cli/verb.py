"""What every verb that makes a task has in common: it builds a spec, which is then run under the same options."""

import inspect
from collections.abc import Callable
from typing import Any

from trogdor.cli import options
from trogdor.cli.target import Target

Spec = dict[str, Any]


def verb(word: str | None = None) -> Callable[[Callable[..., Spec]], Callable[..., None]]:
    """Makes a command of a function that returns a spec: it has the function's options and those of ``_run``.

    A function that wants to know one of ``_run``'s options names it as its own. ``word`` starts the task's id
    unless one is given; without it, the spec's class does.
    """
    shared = [option for option in inspect.signature(_run).parameters.values() if option.kind is option.KEYWORD_ONLY]

    def command_of(build: Callable[..., Spec]) -> Callable[..., None]:
        own = inspect.signature(build).parameters

        def command(**given: Any) -> None:
            spec = build(**{name: given[name] for name in own})
            _run(spec, word or _word_of(spec), **{option.name: given[option.name] for option in shared})

        both = [*own.values(), *(option for option in shared if option.name not in own)]
        command.__doc__ = build.__doc__
        command.__signature__ = inspect.Signature(both)  # type: ignore[attr-defined]
        command.__annotations__ = {option.name: option.annotation for option in both}
        return command

    return command_of


def _run(
    spec: Spec,
    word: str,
    *,
    duration: options.For = None,
    later: options.In = None,
    at: options.At = None,
    detach: options.Detach = False,
    target: Target = None,
    task_id: options.TaskId = None,
    only_print: options.Print = False,
    as_json: options.AsJson = False,
) -> None:
    from trogdor.cli.foreground import run_spec

    when = options.When.read(duration, later, at)
    run_spec(
        spec, when, target=target, word=word, task_id=task_id, detach=detach, only_print=only_print, as_json=as_json
    )


def _word_of(spec: Spec) -> str:
    return str(spec["class"]).rpartition(".")[2].removesuffix("Spec").removesuffix("Fault").lower()
