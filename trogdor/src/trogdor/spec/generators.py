"""What workloads draw from: payloads, throughput, flushes, transactions, topics; tagged by ``type`` as upstream's."""

import base64
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from trogdor.spec.base import Document
from trogdor.spec.jackson import Double, Int, ListOf, Long, MapOf, String, StringMap


class ConstantPayload(Document):
    """The same bytes each time: ``value`` (base64), or ``size`` zero bytes."""

    type: Literal["constant"] = "constant"
    size: Int = 0
    value: String = ""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and not fields.get("value") and isinstance(fields.get("size"), int):
            return {**fields, "value": base64.b64encode(bytes(max(0, min(fields["size"], 2**26)))).decode()}
        return fields


class SequentialPayload(Document):
    """The position as a little-endian number of ``size`` bytes, counted from ``startOffset``."""

    type: Literal["sequential"] = "sequential"
    size: Int = 0
    start_offset: Long = 0

    @model_validator(mode="before")
    @classmethod
    def _wire_name(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and "offset" in fields:
            fields = {**fields, "startOffset": fields["offset"]}
            del fields["offset"]
        return fields


class UniformRandomPayload(Document):
    """``size`` bytes: random, but for the last ``padding``, which are zero."""

    type: Literal["uniformRandom"] = "uniformRandom"
    size: Int = 0
    seed: Long = 0
    padding: Int = 0


class NullPayload(Document):
    """No payload at all."""

    type: Literal["null"] = "null"


class TimestampConstantPayload(Document):
    """The time in ms as 8 bytes, then zeros up to ``size``."""

    type: Literal["timestampConstant"] = "timestampConstant"
    size: Int = 0


class TimestampRandomPayload(Document):
    """The time in ms as 8 bytes, then random bytes up to ``size``."""

    type: Literal["timestampRandom"] = "timestampRandom"
    size: Int = 0
    seed: Long = 0


class GaussianTimestampConstantPayload(Document):
    """As timestampConstant, of a size drawn anew every ``messagesUntilSizeChange``."""

    type: Literal["gaussianTimestampConstant"] = "gaussianTimestampConstant"
    message_size_average: Int = 0
    message_size_deviation: Double = 0.0
    messages_until_size_change: Int = 0
    seed: Long = 0


class GaussianTimestampRandomPayload(Document):
    """As timestampRandom, of a size drawn anew every ``messagesUntilSizeChange``."""

    type: Literal["gaussianTimestampRandom"] = "gaussianTimestampRandom"
    message_size_average: Int = 0
    message_size_deviation: Double = 0.0
    messages_until_size_change: Int = 0
    seed: Long = 0


class RandomComponent(Document):
    """One generator and how often it is taken, in percent."""

    percent: Int = 0
    component: "Payload"


class RandomComponentPayload(Document):
    """One of several generators, drawn each time; the percentages add up to 100."""

    type: Literal["randomComponent"] = "randomComponent"
    seed: Long = 0
    components: Annotated[tuple[RandomComponent, ...], ListOf] = ()


Payload = Annotated[
    ConstantPayload
    | SequentialPayload
    | UniformRandomPayload
    | NullPayload
    | RandomComponentPayload
    | TimestampConstantPayload
    | TimestampRandomPayload
    | GaussianTimestampConstantPayload
    | GaussianTimestampRandomPayload,
    Field(discriminator="type"),
]

RandomComponent.model_rebuild()
RandomComponentPayload.model_rebuild()


class ConstantThroughput(Document):
    """``messagesPerWindow`` in each window."""

    type: Literal["constant"] = "constant"
    messages_per_window: Int = 0
    window_size_ms: Long = 0


class GaussianThroughput(Document):
    """As many in each window as are drawn anew every ``windowsUntilRateChange``."""

    type: Literal["gaussian"] = "gaussian"
    messages_per_window_average: Int = 0
    messages_per_window_deviation: Double = 0.0
    windows_until_rate_change: Int = 0
    window_size_ms: Long = 0


Throughput = Annotated[ConstantThroughput | GaussianThroughput, Field(discriminator="type")]


class ConstantFlush(Document):
    """A flush after every ``messagesPerFlush``."""

    type: Literal["constant"] = "constant"
    messages_per_flush: Int = 0


class GaussianFlush(Document):
    """A flush after as many messages as are drawn anew for each."""

    type: Literal["gaussian"] = "gaussian"
    messages_per_flush_average: Int = 0
    messages_per_flush_deviation: Double = 0.0


Flush = Annotated[ConstantFlush | GaussianFlush, Field(discriminator="type")]


class UniformTransactions(Document):
    """A commit after every ``messagesPerTransaction``."""

    type: Literal["uniform"] = "uniform"
    messages_per_transaction: Int = 0


class IntervalTransactions(Document):
    """A commit every ``transactionIntervalMs``."""

    type: Literal["interval"] = "interval"
    transaction_interval_ms: Int = 0


Transactions = Annotated[UniformTransactions | IntervalTransactions, Field(discriminator="type")]


class TimestampProcessor(Document):
    """Reads the time that a timestamp payload carries and keeps a histogram of the delays."""

    type: Literal["timestamp"] = "timestamp"
    histogram_max_ms: Int = 0
    histogram_min_ms: Int = 0
    histogram_step_ms: Int = 0


class PartitionsSpec(Document):
    """How a topic is made: so many partitions with so many replicas, or exactly these assignments."""

    keeps_empty: ClassVar[frozenset[str]] = frozenset({"num_partitions", "replication_factor"})

    num_partitions: Int = 0
    replication_factor: Int = 0
    partition_assignments: Annotated[dict[int, tuple[Int, ...]], MapOf] = {}
    configs: StringMap = {}


Topics = Annotated[dict[str, PartitionsSpec], MapOf]
"""Topic pattern (``foo[1-3]``) → how its topics are made."""
