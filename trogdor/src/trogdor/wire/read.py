"""JSON bodies read as upstream reads them: comments are accepted, and errors are in Jackson's words where recorded.

Where Jackson names the first problem and its line and column, we name every problem and leave the position out.
"""

import re
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json

from trogdor.spec import Document, Spec, UnknownSpecClass, parse
from trogdor.spec.task import NoOpTaskSpec
from trogdor.wire.errors import BadRequest, UnknownClass
from trogdor.wire.messages import Message

M = TypeVar("M", bound=Message)

TASK_SPEC = "org.apache.kafka.trogdor.task.TaskSpec"

_COMMENT_OR_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?|/\*.*?\*/|/\*.*|//[^\n]*', re.DOTALL)


def read_json(body: bytes) -> Any:
    """The JSON value in ``body``. Raises BadRequest."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        problem = error
    if b"/*" not in body and b"//" not in body:
        raise BadRequest(f"malformed JSON: {problem}")
    try:
        return from_json(_without_comments(body), allow_inf_nan=False)
    except ValueError as error:
        raise BadRequest(f"malformed JSON: {error}") from None


def _without_comments(body: bytes) -> bytes:
    def blank(match: re.Match[bytes]) -> bytes:
        text = match[0]
        return re.sub(rb"[^\n]", b" ", text) if text.startswith(b"/") else text

    return _COMMENT_OR_STRING.sub(blank, body)


def read_message(message: type[M], value: Any) -> M:
    """The message in a JSON value. Raises BadRequest with every problem, UnknownClass where a spec's class is none."""
    if not isinstance(value, dict):
        raise BadRequest(f"Cannot deserialize value of type `{message.java_name}` from {_token(value)}")
    problems: list[str] = []
    fields = dict(value)
    if "spec" in message.model_fields and "spec" in fields:
        fields["spec"] = _read_spec(message, fields["spec"], problems)
    try:
        read = message.model_validate(fields)
    except ValidationError as error:
        problems += [_problem(detail, message, message.java_name) for detail in error.errors(include_url=False)]
    if problems:
        raise BadRequest("\n".join(problems))
    return read


def read_spec(document: Any) -> Spec:
    """The spec in a JSON value. Raises BadRequest or UnknownClass."""
    if not isinstance(document, dict):
        raise BadRequest(f"Cannot deserialize value of type `{TASK_SPEC}` from {_token(document)}")
    try:
        return parse(document)
    except ValidationError as error:
        found = type_of(document)
        raise BadRequest(
            "\n".join(_problem(detail, found, found.class_name) for detail in error.errors(include_url=False))
        ) from None
    except UnknownSpecClass as error:
        raise UnknownClass(_unknown(error.name)) from None


def _read_spec(message: type[Message], document: Any, problems: list[str]) -> Spec:
    chain = f'{message.java_name}["spec"]'
    if not isinstance(document, dict):
        wanted = f"Cannot deserialize value of type `{TASK_SPEC}` from {_token(document)}"
        problems.append(f"{wanted} (through reference chain: {chain})")
        return NoOpTaskSpec()
    try:
        return parse(document)
    except ValidationError as error:
        found = type_of(document)
        problems += [
            _problem(detail, found, f"{chain}->{found.class_name}") for detail in error.errors(include_url=False)
        ]
    except UnknownSpecClass as error:
        raise UnknownClass(f"{_unknown(error.name)} (through reference chain: {chain})") from None
    return NoOpTaskSpec()


def type_of(document: dict[str, Any]) -> type[Spec]:
    """The spec class that a document names. Raises UnknownSpecClass."""
    from trogdor.spec import REGISTRY

    return REGISTRY.find(document["class"])


def _unknown(name: str) -> str:
    if not name:
        return f"Could not resolve subtype of [simple type, class {TASK_SPEC}]: missing type id property 'class'"
    return f"Could not resolve type id '{name}' as a subtype of `{TASK_SPEC}`: no such class found"


def _problem(detail: ErrorDetails, owner: type[Document], chain: str) -> str:
    path = detail["loc"]
    for step in path:
        chain += f"[{step}]" if isinstance(step, int) else f'["{step}"]'
    kind, text = detail["type"], detail["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        text = f'Unrecognized field "{path[-1]}"'
        if len(path) == 1:
            text += f" (class {_java_name(owner)}), not marked as ignorable ({_known(owner)})"
    elif kind == "jackson_number":
        java = re.search(r"valid `(\w+)` value", text)
        text = f"Cannot deserialize value of type `{java[1] if java else 'number'}` from {text}"
    elif kind == "missing":
        text = f"Missing required creator property '{path[-1]}'"
    return f"{text} (through reference chain: {chain})"


def _java_name(owner: type[Document]) -> str:
    return owner.class_name if issubclass(owner, Spec) else getattr(owner, "java_name", owner.__name__)


def _known(owner: type[Document]) -> str:
    names = [field.alias or name for name, field in owner.model_fields.items()]
    return f"{len(names)} known properties: " + ", ".join(f'"{name}"' for name in names) + "]"


def _token(value: Any) -> str:
    if isinstance(value, list):
        return "Array value (token `JsonToken.START_ARRAY`)"
    if value is None:
        return "null: a JSON object is wanted"
    if isinstance(value, str):
        return "String value (token `JsonToken.VALUE_STRING`)"
    return f"{type(value).__name__}: a JSON object is wanted"
