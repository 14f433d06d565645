"""Logs as one JSON object a line on standard error."""

from __future__ import annotations

import json
import logging
import os
import time
from typing import Any

_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as a JSON object: time, level, logger, message, process, and what `extra` adds."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": os.getpid(),
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _USUAL}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=True)


def log_config() -> dict[str, Any]:
    """The configuration of logging for a server, as `logging.config.dictConfig` takes it."""
    to_errors = {"handlers": ["errors"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "upland.serve.logs.JsonFormatter"}},
        "handlers": {"errors": {"class": "logging.StreamHandler", "formatter": "json"}},
        "loggers": {
            "upland.serve": {**to_errors, "level": "INFO"},
            "py.warnings": {**to_errors, "level": "WARNING"},
            "uvicorn": {**to_errors, "level": "WARNING"},
            "uvicorn.error": {**to_errors, "level": "WARNING"},
        },
    }
