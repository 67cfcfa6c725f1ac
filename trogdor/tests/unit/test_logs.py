"""Logs: lines for people, and as JSON one object a line, with what a record tells beside its words."""

import json
import logging

from trogdor.logs import JsonLines, TextLines, log_event
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
    assert TextLines().format(record).endswith("ValueError: x")


def test_a_line_is_for_people_and_each_has_its_own_second() -> None:
    lines = TextLines()
    shown = [
        lines.format(logging.makeLogRecord({"name": "trogdor.x", "levelname": "INFO", "msg": "at %d", "args": (at,),
                                            "created": float(at), "msecs": 7.0}))
        for at in (100, 100, 101)
    ]  # fmt: skip
    seconds, words = zip(*(line.split(",007 INFO trogdor.x: ") for line in shown), strict=True)
    assert words == ("at 100", "at 100", "at 101")
    assert seconds[0] == seconds[1] != seconds[2]


def test_an_event_is_told_by_its_logger_and_only_where_its_level_is_shown() -> None:
    told: list[logging.LogRecord] = []
    logger = logging.Logger("trogdor.x", logging.INFO)
    handler = logging.Handler()
    handler.emit = told.append  # type: ignore[method-assign]
    logger.addHandler(handler)
    log_event(logger, logging.DEBUG, EVENT)
    log_event(logger, logging.WARNING, EVENT)
    (record,) = told
    assert (record.name, record.levelname, record.getMessage()) == ("trogdor.x", "WARNING", words_of(EVENT))
    assert json.loads(JsonLines().format(record))["event"] == EVENT
