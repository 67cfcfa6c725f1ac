"""What is wrong with a document, in words for who wrote it: pydantic's are for who wrote the model."""

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError

Path = tuple[int | str, ...]

_WORDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "extra_forbidden": lambda _: "there is no such field",
    "missing": lambda _: "is missing",
    "value_error": lambda about: str(about["error"]),
    "literal_error": lambda about: f"wanted is {about['expected']}",
    "greater_than": lambda about: f"more than {about['gt']} is wanted",
    "greater_than_equal": lambda about: f"at least {about['ge']} is wanted",
    "less_than": lambda about: f"less than {about['lt']} is wanted",
    "less_than_equal": lambda about: f"at most {about['le']} is wanted",
    "too_short": lambda about: f"at least {about['min_length']} wanted, not {about['actual_length']}",
    "too_long": lambda about: f"at most {about['max_length']} allowed, not {about['actual_length']}",
    **dict.fromkeys(("string_type", "string_sub_type"), lambda _: "a string is wanted"),
    **dict.fromkeys(("list_type", "tuple_type"), lambda _: "a list is wanted"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), lambda _: "an object is wanted"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), lambda _: "a whole number is wanted"),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), lambda _: "a number is wanted"),
    **dict.fromkeys(("bool_type", "bool_parsing"), lambda _: "true or false is wanted"),
}


def problems_in(error: ValidationError) -> list[tuple[Path, str]]:
    """Every problem: where it is, and what is wrong there. A list is not called too short for items that are wrong."""
    details = error.errors(include_url=False, include_input=False)
    paths = [detail["loc"] for detail in details]

    def has_wrong_items(path: Path) -> bool:
        return any(len(other) > len(path) and other[: len(path)] == path for other in paths)

    return [
        (detail["loc"], _WORDS[detail["type"]](detail.get("ctx", {})) if detail["type"] in _WORDS else detail["msg"])
        for detail in details
        if detail["type"] != "too_short" or not has_wrong_items(detail["loc"])
    ]


def shown(path: Iterable[int | str], root: str = "") -> str:
    """A path as people write it: ``links[0].from``, below ``root`` if it is given."""
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return f"{root}{steps}" if root else steps.removeprefix(".")
