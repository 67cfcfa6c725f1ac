"""Logs as JSON: one object a line, with what a record tells beside its words."""

import json
import logging

from trogdor.logs import JsonLines
from trogdor.wire.event import words_of

EVENT = {"type": "worker", "taskId": "t", "node": "n1", "state": "DONE", "error": "two\nlines",
         "status": {"verdict": "not seen: it answers"}}  # fmt: skip


def test_an_event_is_one_line_of_words_and_whole_in_json() -> None:
    assert words_of(EVENT) == "worker  t  n1  DONE  not seen: it answers  two lines"
    record = logging.makeLogRecord({"name": "trogdor.x", "levelname": "INFO", "msg": "%s", "args": (words_of(EVENT),),
                                    "event": EVENT})  # fmt: skip
    text = JsonLines().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["level"], line["logger"], line["event"]) == ("INFO", "trogdor.x", EVENT)


def test_an_exception_stays_on_the_line() -> None:
    try:
        raise ValueError("x")
    except ValueError as error:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": (type(error), error, error.__traceback__)})
    text = JsonLines().format(record)
    assert "\n" not in text
    assert "ValueError: x" in json.loads(text)["exception"]
