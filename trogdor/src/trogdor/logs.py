"""Logs on standard error: a line a record, for people or as JSON."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal, get_args

LogFormat = Literal["text", "json"]
SETTING = "trogdor.log.format"
"""Of a node in the configuration, where the command line does not say."""

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


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


def set_up(wanted: str, level: int = logging.INFO) -> None:
    """Logs to standard error as ``text`` or ``json``. Raises ValueError for anything else."""
    if wanted not in get_args(LogFormat):
        raise ValueError(f"log format {wanted!r}: text or json")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if wanted == "json" else logging.Formatter(TEXT))
    logging.basicConfig(handlers=[handler], level=level)
    for noisy in ("uvicorn.error", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
