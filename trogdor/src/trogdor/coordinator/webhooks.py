"""Events told to others by HTTP: one request an event, in order, from a queue that never holds anything else up."""

import asyncio
import json
import logging
from collections import Counter, deque
from collections.abc import Mapping
from string import Template
from typing import Annotated, Any
from urllib.parse import urlsplit

import aiohttp
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from trogdor.spec.problems import problems_in, shown
from trogdor.wire.event import words_of

log = logging.getLogger(__name__)

MOST_WAITING = 1000
"""Events that wait for one receiver; further ones are dropped, and counted."""
TIMEOUT_S = 5.0
FIRST_RETRY_S, LONGEST_RETRY_S, ATTEMPTS = 0.5, 30.0, 6
LAST_S = 0.5
"""How long a coordinator that ends waits for what is still queued."""

OUTCOMES = ("sent", "full", "refused", "unreachable")
"""What becomes of an event; all but the first are dropped."""

Json = Any


def _http(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise ValueError("an address like https://host/path is wanted")
    return url


class Webhook(BaseModel):
    """Who is told of which events, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, AfterValidator(_http)]
    headers: dict[str, str] = {}
    types: tuple[str, ...] = Field((), description="Only events of these types; all but samples unless told.")
    body: Json = Field(
        None,
        description="What is sent, with $type, $atMs, $taskId, $words and the like in it; else the event itself.",
    )

    @property
    def name(self) -> str:
        """What it is called where its address, which may hold a secret, must not stand."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    def wants(self, event: Mapping[str, Any]) -> bool:
        """Whether it is told of an event."""
        return event["type"] in self.types if self.types else event["type"] != "sample"

    def body_of(self, event: Mapping[str, Any]) -> Json:
        """What is sent of an event."""
        return dict(event) if self.body is None else filled(self.body, {**event, "words": words_of(event)})


def filled(template: Json, values: Mapping[str, Any]) -> Json:
    """A template with its ``$names`` filled in: one alone keeps its value's type, unknown ones are empty."""
    if isinstance(template, dict):
        return {key: filled(value, values) for key, value in template.items()}
    if isinstance(template, list):
        return [filled(value, values) for value in template]
    if not isinstance(template, str):
        return template
    if template[:1] == "$" and template[1:].isidentifier():
        return values.get(template[1:], "")
    names = Template(template).get_identifiers()
    return Template(template).safe_substitute({name: values.get(name, "") for name in names})


def read_webhooks(setting: str) -> list[Webhook]:
    """The webhooks of a setting, a JSON list. Raises ValueError with every problem, each with its path below it."""
    try:
        return TypeAdapter(list[Webhook]).validate_python(json.loads(setting))
    except ValidationError as error:
        raise ValueError("; ".join(f"{shown(path)}: {message}" for path, message in problems_in(error))) from None
    except ValueError:
        raise ValueError(": a list of objects is wanted") from None


class Sender:
    """Tells one receiver: one event after the other, again and later when it does not take one."""

    def __init__(self, webhook: Webhook) -> None:
        self.webhook = webhook
        self.outcomes = Counter(dict.fromkeys(OUTCOMES, 0))
        """One of ``OUTCOMES`` → how many events."""
        self._waiting: deque[Json] = deque()
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many events are queued."""
        return len(self._waiting)

    def put(self, event: Mapping[str, Any]) -> None:
        """Queues an event, if it is wanted and there is room. Never waits."""
        if not self.webhook.wants(event):
            return
        if len(self._waiting) >= MOST_WAITING:
            self.outcomes["full"] += 1
            return
        self._waiting.append(self.webhook.body_of(event))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send_all())

    async def _send_all(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
            while self._waiting:
                outcome = await self._send(session, self._waiting[0])
                self._waiting.popleft()
                self.outcomes[outcome] += 1

    async def _send(self, session: aiohttp.ClientSession, body: Json) -> str:
        why, wait_s = "", FIRST_RETRY_S
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_RETRY_S)
            try:
                request = session.post(self.webhook.url, json=body, headers=self.webhook.headers, allow_redirects=False)
                async with request as answer:
                    status = answer.status
            except (OSError, TimeoutError, aiohttp.ClientError, ValueError) as error:
                why = type(error).__name__
                continue
            if status < 300:
                return "sent"
            why = f"HTTP {status}"
            if status < 500 and status not in (408, 425, 429):
                log.warning("the webhook at %s refuses an event: %s", self.webhook.name, why)
                return "refused"
        log.warning("the webhook at %s does not take an event: %s; it is dropped", self.webhook.name, why)
        return "unreachable"

    async def close(self) -> None:
        """Ends; what is still queued has a moment to go."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=LAST_S)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
