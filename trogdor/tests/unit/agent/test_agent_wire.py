"""The agent answers as Java Trogdor 4.1.0 was recorded to; each deviation is a row of docs/compatibility.md."""

import json
import time
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parents[2] / "golden" / "agent.json"
ROWS = Path(__file__).parents[4] / "docs" / "compatibility.md"


def _with_times(value: Any, now_ms: int) -> Any:
    """``@now+N`` in a body becomes a time."""
    if isinstance(value, dict):
        return {key: _with_times(item, now_ms) for key, item in value.items()}
    if isinstance(value, str) and value.startswith("@now"):
        return now_ms + int(value.removeprefix("@now") or 0)
    return value


def _without_times(value: Any) -> Any:
    """Times of today become ``@ms``."""
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "@ms" if is_number and value > 10**12 else value


def test_every_recorded_exchange(own_agent: Any) -> None:
    agent = own_agent
    began: dict[int, int] = {}
    rows = ROWS.read_text()
    for exchange in json.loads(GOLDEN.read_text())["exchanges"]:
        method, _, path = exchange["request"].partition(" ")
        body: Any = exchange.get("body")
        if isinstance(body, dict) and "workerId" in body:
            body = _with_times(body, began.setdefault(body["workerId"], int(time.time() * 1000)))
        if "raw" in exchange:
            body = exchange["raw"].encode()
        wanted = exchange.get("ours", exchange["upstream"])
        if "ours" in exchange:
            assert f"`{exchange['deviation']}`" in rows

        def answer(method: str = method, path: str = path, body: Any = body, exchange: Any = exchange) -> str:
            code, got = agent.send(method, path, body, exchange.get("content_type", "application/json"))
            return json.dumps({"code": code, "answer": _without_times(got)})

        if exchange.get("eventually"):
            seen = []
            agent.until(
                lambda answer=answer, wanted=wanted, seen=seen: seen.append(answer()) or seen[-1] == json.dumps(wanted)
            )
        else:
            assert answer() == json.dumps(wanted), exchange["what"]
    assert agent.process.wait(60) == 0
