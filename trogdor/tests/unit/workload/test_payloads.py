"""Payloads are upstream's, byte for byte (vectors made by Java Trogdor 4.1.0: tests/java/PayloadVectors.java)."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from trogdor.spec import generators as g
from trogdor.workload.java_random import JavaRandom
from trogdor.workload.payloads import PayloadError, batches, generator

VECTORS = json.loads(Path(__file__).with_name("payload_vectors.json").read_text())
PAYLOAD: TypeAdapter[Any] = TypeAdapter(g.Payload)


@pytest.mark.parametrize("vector", VECTORS["payloads"], ids=lambda vector: json.dumps(vector["payload"])[:60])
def test_a_payload_is_the_bytes_that_java_makes(vector: dict[str, Any]) -> None:
    generate, skipped = generator(PAYLOAD.validate_python(vector["payload"])), vector["from"]
    for position, expected in vector["made"]:
        made = generate(position)
        assert (None if made is None else made[skipped:].hex()) == expected, position


@pytest.mark.parametrize("vector", VECTORS["payloads"], ids=lambda vector: json.dumps(vector["payload"])[:60])
def test_a_batch_is_what_one_by_one_gives(vector: dict[str, Any]) -> None:
    payload, skipped = PAYLOAD.validate_python(vector["payload"]), vector["from"]
    generate = generator(payload)
    singly = [generate(position) for position in range(250, 260)]
    cut = [None if made is None else made[skipped:] for made in singly]
    assert [None if made is None else made[skipped:] for made in batches(payload)(250, 10)] == cut


@pytest.mark.parametrize("vector", VECTORS["randoms"], ids=lambda vector: str(vector["seed"]))
def test_random_is_javas(vector: dict[str, Any]) -> None:
    random = JavaRandom(vector["seed"])
    assert random.next_bytes(11).hex() == vector["bytes"]
    assert [[bound, random.next_int(bound)] for bound, _ in vector["ints"]] == vector["ints"]
    assert [random.next_gaussian() for _ in vector["gaussians"]] == pytest.approx(vector["gaussians"], rel=1e-15)


@given(seed=st.integers(-(2**63), 2**63 - 1), first=st.integers(0, 70), second=st.integers(0, 70))
def test_bytes_drawn_at_once_continue_the_sequence(seed: int, first: int, second: int) -> None:
    at_once, singly = JavaRandom(seed), JavaRandom(seed)
    for size in (first, second):
        expected = b"".join((singly._next(32)).to_bytes(4, "little") for _ in range((size + 3) // 4))[:size]
        assert at_once.next_bytes(size) == expected


@pytest.mark.parametrize("kind", ["timestampConstant", "timestampRandom"])
def test_a_timestamp_payload_begins_with_now_in_ms(kind: str) -> None:
    before = time.time_ns() // 1_000_000
    made = generator(PAYLOAD.validate_python({"type": kind, "size": 20}))(0)
    assert made is not None
    assert before <= int.from_bytes(made[:8], "little") <= time.time_ns() // 1_000_000


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"type": "timestampRandom", "size": 7}, "greater than or equal to 8"),
        ({"type": "uniformRandom", "size": 3, "padding": 4}, "Invalid value 4 for padding"),
        ({"type": "randomComponent", "components": []}, "non-empty list"),
        ({"type": "randomComponent", "components": [{"percent": 99, "component": {"type": "null"}}]}, "sum to 100"),
        ({"type": "constant", "size": 1 << 30}, "a size from 0 to"),
    ],
)
def test_a_payload_that_contradicts_itself_is_refused(payload: dict[str, Any], message: str) -> None:
    with pytest.raises(PayloadError, match=message):
        generator(PAYLOAD.validate_python(payload))
