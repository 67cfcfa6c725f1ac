"""The coordinator's REST interface against what Java Trogdor 4.1.0 answered, times normalised.

``golden/coordinator.json``: requests in order. A step with ``row`` deviates on purpose: that row of
docs/compatibility.md says how and why; ``java`` is the status Java gave. An answer of null: only the status and the
shape of an error are compared.
"""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp

from unit.coordinator.conftest import DEADLINE_S, Cluster

GOLDEN = Path(__file__).parents[2] / "golden" / "coordinator.json"
FAR_MS = 4102444800000


def normalised(value: Any) -> Any:
    """Every time but the one given in the requests becomes ``<ms>``."""
    if isinstance(value, dict):
        return {key: normalised(item) for key, item in value.items()}
    if isinstance(value, list):
        return [normalised(item) for item in value]
    is_time = isinstance(value, int) and value > 10**12 and value != FAR_MS
    return "<ms>" if is_time else value


async def ask(session: aiohttp.ClientSession, base: str, step: dict[str, Any]) -> tuple[int, str]:
    content_type = step.get("content_type", "application/json")
    text = step.get("text", json.dumps(step["body"]) if "body" in step else None)
    async with session.request(
        step["method"],
        base + step["path"],
        data=text,
        headers={"Content-Type": content_type} if content_type else {},
        skip_auto_headers=["Content-Type"],
    ) as response:
        return response.status, await response.text()


async def answered(session: aiohttp.ClientSession, base: str, step: dict[str, Any]) -> tuple[int, str]:
    """The answer; with ``until``, once the task's state or status is that."""
    end = time.monotonic() + DEADLINE_S
    while True:
        status, text = await ask(session, base, step)
        wanted = step.get("until")
        shown = json.loads(text)
        if wanted is None or wanted in (shown.get("state"), shown.get("status")):
            return status, text
        assert time.monotonic() < end, f"{step['title']}: {text}"
        await asyncio.sleep(0.005)


def test_every_deviation_is_a_row_of_the_documentation() -> None:
    documented = (Path(__file__).parents[4] / "docs" / "compatibility.md").read_text()
    rows = {step["row"] for step in json.loads(GOLDEN.read_text()) if "row" in step}
    assert {row for row in rows if f"| `{row}` |" not in documented} == set()


async def test_the_coordinator_answers_as_upstream_does(pair: Cluster) -> None:
    assert pair.coordinator
    base = f"http://127.0.0.1:{pair.coordinator.port}"
    async with aiohttp.ClientSession() as session:
        for step in json.loads(GOLDEN.read_text()):
            status, text = await answered(session, base, step)
            assert status == step["status"], f"{step['title']}: {text}"
            shown = json.loads(text)
            if step.get("keys"):
                assert list(shown.get("tasks", {})) == step["answer"], step["title"]
            elif step["answer"] is None:
                assert list(shown) == ["code", "message"], step["title"]
                assert shown["code"] == status
            else:
                assert json.dumps(normalised(shown)) == json.dumps(step["answer"]), step["title"]
    assert pair.coordinator.ended.done()
