"""A task that does nothing on every agent."""

from __future__ import annotations

from trogdor.ducktape.task_spec import TaskSpec


class NoOpTaskSpec(TaskSpec):
    """Does nothing, on every agent."""

    def __init__(self, start_ms: int, duration_ms: int) -> None:
        super().__init__(start_ms, duration_ms)
        self.message["class"] = "org.apache.kafka.trogdor.task.NoOpTaskSpec"
