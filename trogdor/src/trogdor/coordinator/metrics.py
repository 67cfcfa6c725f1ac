"""The coordinator's ``/metrics``."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from trogdor import metrics
from trogdor.coordinator.state import Phase, State, is_fault
from trogdor.http.app import Endpoint
from trogdor.http.message import Request, Response
from trogdor.instant import NS_PER_S
from trogdor.metrics import gauge

if TYPE_CHECKING:
    from prometheus_client import Metric

    from trogdor.coordinator.tasks import Tasks


class Metrics:
    """What of the coordinator Prometheus is told."""

    def __init__(self, tasks: "Tasks") -> None:
        self._tasks = tasks

    def endpoints(self) -> list[Endpoint]:
        """The route."""
        return [Endpoint("GET", "/metrics", self.scrape, "For Prometheus.")]

    async def scrape(self, _request: Request, _body: None) -> Response:
        return metrics.response(self._families())

    def _families(self) -> "Iterator[Metric]":
        tasks = self._tasks
        states = Counter(str(task.state) for task in tasks.by_id.values())
        by_state = {str(state): states[state] for state in State}
        yield gauge("trogdor_tasks", "Tasks, composites counted as one, by state.", by_state, "state")
        running = (worker for worker in tasks.live.values() if worker.phase is Phase.RUNNING)
        active = Counter(worker.node for worker in running if is_fault(worker.task.spec))
        by_node = {node: active[node] for node in tasks.agents}
        yield gauge("trogdor_faults_active", "Faults in force, by node.", by_node, "node")
        yield from tasks.figures.families()
        yield from self._agents()
        yield from self._webhooks()
        yield metrics.counter("trogdor_events", "Events since the store was made.", tasks.events.last)
        words = "SQLite's files on disk; 0 for another database."
        yield gauge("trogdor_store_bytes", words, tasks.store.size_bytes())
        yield from self._store()

    def _store(self) -> "Iterator[Metric]":
        store = self._tasks.store
        yield gauge(
            "trogdor_store_failing", "Whether the store could not be written when last tried.", bool(store.problem)
        )
        yield gauge("trogdor_store_waiting", "Changes that are not on disk yet.", store.waiting)
        words = "Rows that the database does not take, whatever is done."
        yield metrics.counter("trogdor_store_refused", words, store.refused_rows)
        words = "Events that were not kept while the store could not be written."
        yield metrics.counter("trogdor_store_events_dropped", words, store.events_dropped)

    def _webhooks(self) -> "Iterator[Metric]":
        waiting: Counter[str] = Counter()
        outcomes: Counter[tuple[str, ...]] = Counter()
        for sender in self._tasks.events.senders:
            waiting[sender.webhook.name] += sender.waiting
            for outcome, count in sender.outcomes.items():
                outcomes[sender.webhook.name, outcome] += count
        yield gauge("trogdor_webhook_waiting", "Events that wait for a receiver.", waiting, "receiver")
        words = "Events sent, and those dropped: the queue full, refused, unreachable."
        yield metrics.counter("trogdor_webhook_events", words, outcomes, "receiver", "outcome")

    def _agents(self) -> "Iterator[Metric]":
        agents = self._tasks.agents
        up = {name: float(agent.up) for name, agent in agents.items()}
        yield gauge("trogdor_agent_up", "Whether the node's agent answers.", up, "node")
        best = {name: agent.wall_offsets.best for name, agent in agents.items()}
        known = {name: sample for name, sample in best.items() if sample is not None}
        offsets = {name: sample.offset_ns / NS_PER_S for name, sample in known.items()}
        unsure = {name: sample.uncertainty_ns / NS_PER_S for name, sample in known.items()}
        yield gauge(
            "trogdor_agent_clock_offset_seconds", "The agent's wall clock minus the coordinator's.", offsets, "node"
        )
        yield gauge("trogdor_agent_clock_uncertainty_seconds", "By how much that may be wrong.", unsure, "node")
