"""A spec as commands take it: JSON as the argument itself, a file of JSON or YAML, or - for standard input."""

import json
import sys
from pathlib import Path
from typing import Any


def read_document(argument: str) -> dict[str, Any]:
    """The JSON object that an argument holds or names; a file named ``.yaml`` or ``.yml`` is YAML.

    Raises ValueError that says what is wrong where.
    """
    text, source = _read(argument)
    document = _parse_yaml(text, source) if source.endswith((".yaml", ".yml")) else _parse_json(text, source)
    if not isinstance(document, dict):
        raise ValueError(f'{source}: a JSON object is wanted, such as {{"class": "NoOpTaskSpec", "durationMs": 1000}}')
    return document


def _parse_json(text: str, source: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{source} is not JSON: {error}") from None


def _parse_yaml(text: str, source: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{source} is not YAML: {error}") from None


def _read(argument: str) -> tuple[str, str]:
    if argument.lstrip().startswith("{"):
        return argument, "the spec"
    if argument == "-":
        return sys.stdin.read(), "standard input"
    try:
        return Path(argument).read_text(), argument
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise ValueError(f"cannot read the spec from {argument}: {reason}") from None
