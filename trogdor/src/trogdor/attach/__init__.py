"""Namespaces of running processes and containers as nodes of one agent on their machine.

with attach(containers=["kafka-1", "kafka-2"]) as attached:
    attached.client.create_task(…)
"""

from trogdor.attach.attached import Attached, attach
from trogdor.attach.places import AttachError

__all__ = ["AttachError", "Attached", "attach"]
