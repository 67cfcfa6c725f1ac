"""``trogdor spec``: what can be asked for."""

import json
import typing
from typing import Annotated, Any

import typer

from trogdor.cli.commands import plain_app
from trogdor.cli.exits import ExitCode, Failure
from trogdor.cli.output import bold, print_json, print_table

if typing.TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from trogdor.spec import Document, Spec

app = plain_app(no_args_is_help=True, help="Shows what can be asked for: every spec, its fields, an example.")


@app.command("list")
def list_specs(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Lists every spec: its class, and what it does.

    The last word of a class alone is accepted wherever a spec is read.
    """
    from trogdor.spec import REGISTRY

    if as_json:
        print_json([{"class": spec.class_name, "summary": summary(spec)} for spec in REGISTRY])
        return
    for family in dict.fromkeys(_family(spec) for spec in REGISTRY):
        print(bold(family))
        rows = [(_last_word(spec), summary(spec)) for spec in REGISTRY if _family(spec) == family]
        width = max(len(name) for name, _ in rows)
        for name, text in rows:
            print(f"  {name.ljust(width)}  {text}")
    print("\n`trogdor spec show NAME` shows its fields and an example.")


def _names() -> list[str]:
    from trogdor.spec import REGISTRY

    return [_last_word(spec) for spec in REGISTRY]


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A class, or its last word alone.", autocompletion=_names)],
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Shows one spec: its fields with types, units and defaults, an example, what undoes it and what checks it."""
    spec = find(name)
    if schema:
        print_json(schema_of(spec))
    elif as_json:
        print_json(describe(spec))
    else:
        _print_description(describe(spec))


def find(name: str) -> "type[Spec]":
    """The spec class of that name or last word. Raises Failure with the nearest names."""
    from difflib import get_close_matches

    from trogdor.spec import REGISTRY, UnknownSpecClass

    try:
        return REGISTRY.find(name)
    except UnknownSpecClass as error:
        near = get_close_matches(name, [_last_word(spec) for spec in REGISTRY], n=3, cutoff=0.4)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise Failure(ExitCode.BAD_USAGE, f"{error}.{hint}") from None


def describe(spec: "type[Spec]") -> dict[str, Any]:
    """Everything there is to say about a spec, as JSON."""
    example = {"class": spec.class_name, "startMs": 0, "durationMs": 30_000, **spec.example}
    return {
        "class": spec.class_name,
        "summary": summary(spec),
        "fields": [field for _, field in _fields_of(spec)],
        "example": example,
        **_nets_of(spec),
    }


def _nets_of(spec: "type[Spec]") -> dict[str, Any]:
    """What undoes a fault when its agent dies or hangs, and what checks it; empty for what is no fault here."""
    from trogdor.platform import here
    from trogdor.platform.preview import nets_of, resource_of

    platform = here()
    fault = platform.faults.get(spec)
    if fault is None:
        return {}
    resources = [resource_of(platform, kind) for kind in fault.kinds]
    undone = [{"kind": each.kind, "undoneBy": nets_of(each), "how": each.undone_by} for each in resources]
    return {"undoneBy": undone, "checkedBy": fault.checked_by}


def schema_of(spec: "type[Spec]") -> dict[str, Any]:
    """The JSON Schema of a spec, its ``class`` included."""
    schema = spec.model_json_schema(by_alias=True)
    schema["properties"] = {"class": {"const": spec.class_name}, **schema.get("properties", {})}
    schema["required"] = ["class", *schema.get("required", [])]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def summary(spec: "type[Document]") -> str:
    """The first paragraph of a spec's docstring, on one line."""
    return " ".join((spec.__doc__ or "").strip().partition("\n\n")[0].split())


def _fields_of(document: "type[Document]", prefix: str = "", depth: int = 0) -> list[tuple[int, dict[str, Any]]]:
    """Each field of a document with its depth; the fields of documents within it follow, ``links[].from`` and so on."""
    found = []
    for name, field in document.model_fields.items():
        path = prefix + (field.alias or name)
        found.append((depth, _describe_field(path, field)))
        for inner, suffix in _documents_in(field.annotation):
            found += _fields_of(inner, f"{path}{suffix}.", depth + 1)
    return found


def _describe_field(path: str, field: "FieldInfo") -> dict[str, Any]:
    from pydantic_core import PydanticUndefined

    described: dict[str, Any] = {"name": path, "type": _say_type(field.annotation)}
    if field.is_required():
        described["required"] = True
    elif field.default is not PydanticUndefined:
        described["default"] = _plain(field.default)
    what = " ".join(filter(None, (field.description, _tags_of(field.annotation))))
    if what:
        described["description"] = what
    return described


def _plain(value: Any) -> Any:
    from trogdor.spec import Document

    return value.to_json() if isinstance(value, Document) else list(value) if isinstance(value, tuple) else value


def _documents_in(annotation: Any, suffix: str = "") -> "list[tuple[type[Document], str]]":
    """The documents that a field holds, with ``[]`` for each list and ``{}`` for each map on the way to them.

    Tagged unions (a generator is one of several) are left to ``--schema``.
    """
    from trogdor.spec import Document

    if isinstance(annotation, type) and issubclass(annotation, Document):
        return [(annotation, suffix)]
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _documents_in(inner[0], suffix)
    if origin in (tuple, list):
        return _documents_in(inner[0], suffix + "[]")
    if origin is dict:
        return _documents_in(inner[1], suffix + "{}")
    return []


_WORDS = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", Any: "any JSON"}


def _say_type(annotation: Any) -> str:
    """A type in JSON's words: ``list of strings``, ``"drop" or "reject"``."""
    if annotation in _WORDS:
        return _WORDS[annotation]
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _say_type(inner[0])
    if origin is typing.Literal:
        return " or ".join(json.dumps(value) for value in inner)
    if origin in (tuple, list):
        return f"list of {_plural(_say_type(inner[0]))}"
    if origin is dict:
        return f"map of {_plural(_say_type(inner[1]))}"
    kinds = [kind for kind in inner if kind is not type(None)]
    if len(kinds) == 1:
        return _say_type(kinds[0])
    return "object, by type" if kinds else "object"


def _plural(word: str) -> str:
    head, space, rest = word.partition(" ")
    return f"{head}s{space}{rest}" if head in (*_WORDS.values(), "object", "list", "map") else word


def _tags_of(annotation: Any) -> str:
    """The ``type`` values of a tagged union, ``constant, sequential``; empty for all else."""
    inner = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
    if typing.get_origin(annotation) is Annotated or len(inner) == 1:
        return _tags_of(inner[0])
    tags = [kind.model_fields["type"].annotation for kind in inner if "type" in getattr(kind, "model_fields", ())]
    return ", ".join(str(typing.get_args(tag)[0]) for tag in tags)


def _print_description(spec: dict[str, Any]) -> None:
    print(f"{bold(spec['class'])}\n{spec['summary']}\n")
    rows = [
        (
            field["name"],
            field["type"],
            "required" if field.get("required") else _say_default(field.get("default")),
            field.get("description", ""),
        )
        for field in spec["fields"]
    ]
    print_table(("FIELD", "TYPE", "DEFAULT", "WHAT"), rows)
    print(f"\n{bold('Example')}\n{json.dumps(spec['example'], indent=2, ensure_ascii=False)}")
    if "undoneBy" in spec:
        print(f"\n{bold('What undoes it if its agent dies')}")
        for each in spec["undoneBy"]:
            print(f"{each['kind']}: {', '.join(each['undoneBy'])}: {each['how']}")
        print(f"\n{bold('What checks it')}\n{spec['checkedBy']}")


def _say_default(value: Any) -> str:
    text = "" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 24 else "(see --json)"


def _last_word(spec: "type[Spec]") -> str:
    return spec.class_name.rpartition(".")[2]


def _family(spec: "type[Spec]") -> str:
    return spec.class_name.rpartition(".")[0].rpartition(".")[2].capitalize()
