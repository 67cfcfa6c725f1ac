"""Ducktape's system tests with Trogdor: a cluster out of the lab, nodes by tags, Trogdor as a service.

    ducktape --cluster trogdor.ducktape.LabCluster tests/

Imports ducktape and the standard library only: ducktape pins so many versions that it lives in an environment of its
own. Modules are named as in upstream's kafkatest.services.trogdor, and the names in them too.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trogdor.ducktape.console import ConsoleConsumer, ConsoleProducer
    from trogdor.ducktape.jmx import JmxTool
    from trogdor.ducktape.kafka import KafkaService
    from trogdor.ducktape.kibosh import KiboshService
    from trogdor.ducktape.lab import LabCluster
    from trogdor.ducktape.tags import TaggedCluster, TaggedSpec, TaggedSubcluster
    from trogdor.ducktape.trogdor import TrogdorService, TrogdorTask
    from trogdor.ducktape.verifiable import VerifiableConsumer, VerifiableProducer
    from trogdor.ducktape.zookeeper import ZookeeperService

__all__ = [
    "ConsoleConsumer",
    "ConsoleProducer",
    "JmxTool",
    "KafkaService",
    "KiboshService",
    "LabCluster",
    "TaggedCluster",
    "TaggedSpec",
    "TaggedSubcluster",
    "TrogdorService",
    "TrogdorTask",
    "VerifiableConsumer",
    "VerifiableProducer",
    "ZookeeperService",
]

_MODULES = {
    "ConsoleConsumer": "console",
    "ConsoleProducer": "console",
    "JmxTool": "jmx",
    "KafkaService": "kafka",
    "KiboshService": "kibosh",
    "LabCluster": "lab",
    "TaggedCluster": "tags",
    "TaggedSpec": "tags",
    "TaggedSubcluster": "tags",
    "TrogdorService": "trogdor",
    "TrogdorTask": "trogdor",
    "VerifiableConsumer": "verifiable",
    "VerifiableProducer": "verifiable",
    "ZookeeperService": "zookeeper",
}


def __getattr__(name: str) -> object:
    """Import what is asked for: the specs need no ducktape."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
