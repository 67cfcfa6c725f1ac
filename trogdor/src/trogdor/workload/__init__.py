"""Workloads, each a process of its own that speaks ExternalCommand's JSON lines.

``command(class name)`` is how an agent starts one: it writes ``{"id": task id, "workload": spec}`` to the process and
treats it as any external command.
"""

import sys

_UPSTREAM = "org.apache.kafka.trogdor.workload."

MODULES = {
    f"{_UPSTREAM}ProduceBenchSpec": "trogdor.workload.produce_bench",
    f"{_UPSTREAM}ConsumeBenchSpec": "trogdor.workload.consume_bench",
    f"{_UPSTREAM}RoundTripWorkloadSpec": "trogdor.workload.round_trip",
    f"{_UPSTREAM}ConnectionStressSpec": "trogdor.workload.connection_stress",
    f"{_UPSTREAM}SustainedConnectionSpec": "trogdor.workload.sustained_connection",
    f"{_UPSTREAM}ConfigurableProducerSpec": "trogdor.workload.configurable_producer",
    f"{_UPSTREAM}ShareConsumeBenchSpec": "trogdor.workload.share_consume_bench",
    f"{_UPSTREAM}ShareRoundTripWorkloadSpec": "trogdor.workload.share_round_trip",
}
"""Spec class → the module that runs it as ``python -m``. ExternalCommandSpec names its own command."""


def command(class_name: str) -> list[str]:
    """The command that runs a workload of this spec class. Raises KeyError for a class that is no workload here."""
    return [sys.executable, "-m", MODULES[class_name]]
