"""Logs on standard error: a line a record, for people or as JSON."""

import json
import logging
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO, get_args

from trogdor.wire.event import words_of

LogFormat = Literal["text", "json"]
SETTING = "trogdor.log.format"
"""Of a node in the configuration, where the command line does not say."""

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class TextLines(logging.Formatter):
    """``time level logger: message``. A second is put into words once, however many records fall into it."""

    def __init__(self) -> None:
        super().__init__(TEXT)
        self._second = -1
        self._words = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        second = int(record.created)
        if second != self._second:
            self._second, self._words = second, time.strftime(self.default_time_format, self.converter(second))
        return f"{self._words},{int(record.msecs):03d}"

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info or record.exc_text or record.stack_info:
            return super().format(record)
        return f"{self.formatTime(record)} {record.levelname} {record.name}: {record.getMessage()}"


class JsonLines(logging.Formatter):
    """``{"time", "level", "logger", "message"}``, and what a record carries as ``event`` beside them."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line | {"event": record.event} if hasattr(record, "event") else line, ensure_ascii=False)


class _Lines(logging.StreamHandler[TextIO]):
    """Standard error, which writes each line out by itself: to flush it once more takes as long as the line."""

    def flush(self) -> None:
        pass


def set_up(wanted: str, level: int = logging.INFO) -> None:
    """Logs to standard error as ``text`` or ``json``. Raises ValueError for anything else."""
    if wanted not in get_args(LogFormat):
        raise ValueError(f"log format {wanted!r}: text or json")
    handler = _Lines(sys.stderr)
    handler.setFormatter(JsonLines() if wanted == "json" else TextLines())
    logging.basicConfig(handlers=[handler], level=level)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # no line of ours shows them
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class _EventRecord(logging.LogRecord):
    """An event. Who calls, in which thread, is not looked for: no line shows it, and it takes longer than the line."""

    _REST = vars(logging.makeLogRecord({}))

    def __init__(self, logger: str, level: int, event: Mapping[str, Any]) -> None:
        now = time.time()
        self.__dict__ = {
            **self._REST,
            "name": logger,
            "levelno": level,
            "levelname": logging.getLevelName(level),
            "created": now,
            "msecs": now % 1 * 1000,
            "msg": words_of(event),
            "event": event,
        }


def log_event(logger: logging.Logger, level: int, event: Mapping[str, Any]) -> None:
    """A line that tells an event."""
    if logger.isEnabledFor(level):
        logger.handle(_EventRecord(logger.name, level, event))
