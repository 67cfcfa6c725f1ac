"""What can be asked for. ``parse`` turns JSON into a spec; ``REGISTRY`` knows every class."""

from typing import Any

from trogdor.spec import composite, files, kafka, network, process, schedule, task, workload
from trogdor.spec.base import REGISTRY, Document, Registry, Spec, SpecError, UnknownSpecClass

__all__ = [
    "REGISTRY", "Document", "Registry", "Spec", "SpecError", "UnknownSpecClass",
    "composite", "files", "kafka", "network", "parse", "process", "schedule", "task", "workload",
]  # fmt: skip


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
