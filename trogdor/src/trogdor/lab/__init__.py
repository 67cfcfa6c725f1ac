"""Nodes out of Linux namespaces on one machine, and recipes of real clusters on them.

with Lab(nodes=3) as lab:
    lab.nodes["n1"].exec(["getent", "hosts", "n2"])
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trogdor.lab.control import NodeGone
    from trogdor.lab.lab import Lab
    from trogdor.lab.node import Node, NodeProcess, ProcessInfo
    from trogdor.lab.runtime import LabError

__all__ = ["Lab", "LabError", "Node", "NodeGone", "NodeProcess", "ProcessInfo"]

_MODULES = {"Lab": "lab", "LabError": "runtime", "NodeGone": "control"}


def __getattr__(name: str) -> object:
    """Import what is asked for, when it is: the keeper's process must not pay for it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'node')}"), name)
