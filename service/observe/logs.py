"""Log lines, as JSON or for people, each with the ids of the request and the trace that it belongs to."""

import json
import logging
import logging.config
import re
import time
from contextvars import ContextVar
from typing import Literal

from service.observe import tracing

request_id: ContextVar[str] = ContextVar("request_id", default="")

# Passed as `extra={FIELDS: {...}}`: values beside the message, numbers where they are numbers.
FIELDS = "cwic_fields"

PLAIN = re.compile(r"[!#-<>-\[\]-~]*")  # printable ASCII but space, quote, equals sign and backslash


def configure(*, log_format: Literal["json", "console"], level: str) -> None:
    """Send everything, uvicorn's lines included, through one handler on standard error."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": JsonFormatter if log_format == "json" else ConsoleFormatter}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"level": level.upper(), "handlers": ["stderr"]},
        }
    )


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, object] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(_ids())
        line.update(getattr(record, FIELDS, {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class ConsoleFormatter(logging.Formatter):
    """Time, level and message, then the fields as `name=value`, quoted as in JSON where need be."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, and its traceback below it."""
        fields: dict[str, object] = dict(getattr(record, FIELDS, {}))
        fields.update(_ids())
        parts = [_timestamp(record), f"{record.levelname:<7}", record.getMessage()]
        parts += [f"{name}={_quoted(value)}" for name, value in fields.items()]
        line = " ".join(parts)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _ids() -> dict[str, str]:
    """Of the request and the trace that a line belongs to, where there are any."""
    ids = {"request_id": request_id.get()} if request_id.get() else {}
    if trace := tracing.current.get():
        ids |= {"trace_id": trace.trace_id, "span_id": trace.span_id}
    return ids


def _quoted(value: object) -> str:
    """A value as text, in quotes where it could be taken for more than one: by it, a client could forge fields."""
    text = str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text)


def _timestamp(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
