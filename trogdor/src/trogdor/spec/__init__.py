"""What can be asked for. ``parse`` turns JSON into a spec; ``REGISTRY`` knows every class.

The families are modules of their own, imported when a class is looked for that those imported so far do not have: all
their models take as long to define as a daemon may take to start.
"""

from typing import Any

from trogdor.spec.base import REGISTRY, Document, Registry, Spec, SpecError, UnknownSpecClass

__all__ = ["REGISTRY", "Document", "Registry", "Spec", "SpecError", "UnknownSpecClass", "parse"]


def parse(document: dict[str, Any]) -> Spec:
    """The spec that a JSON object describes.

    Raises UnknownSpecClass when its ``class`` is missing or unknown, pydantic's ValidationError (every problem with
    its path) when a field is wrong.
    """
    fields = dict(document)
    name = fields.pop("class", None)
    if not isinstance(name, str):
        raise UnknownSpecClass("" if name is None else str(name))
    return REGISTRY.find(name).model_validate(fields)
