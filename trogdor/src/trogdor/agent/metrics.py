"""The agent's ``/metrics``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, get_args

from trogdor import metrics
from trogdor.agent.workers import Setting, Workers
from trogdor.http.app import Endpoint
from trogdor.http.message import Request, Response
from trogdor.metrics import gauge
from trogdor.wire.messages import WorkerPhase

if TYPE_CHECKING:
    from prometheus_client import Metric


class Metrics:
    """What of an agent Prometheus is told."""

    def __init__(self, setting: Setting, workers: Workers) -> None:
        self._of = setting
        self._workers = workers

    def endpoints(self) -> list[Endpoint]:
        """The route."""
        return [Endpoint("GET", "/metrics", self.scrape, "For Prometheus (ours).")]

    async def scrape(self, _request: Request, _body: None) -> Response:
        return metrics.response(self._families())

    def _families(self) -> "Iterator[Metric]":
        states = self._workers.states()
        by_state = {str(state): states[state] for state in get_args(WorkerPhase)}
        yield gauge("trogdor_workers", "Workers, by state.", by_state, "state")
        places = list(self._of.places.open.values())
        active = {place.node.name: len({claim.term.worker_id for claim in place.ledger.in_force()}) for place in places}
        yield gauge("trogdor_faults_active", "Faults in force, by node.", active, "node")
        yield from self._workers.figures.families()
        journals = {place.node.name: place.ledger.journal_bytes for place in places}
        yield gauge("trogdor_journal_bytes", "What the present turn of the journal has written.", journals, "node")
