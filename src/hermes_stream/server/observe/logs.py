"""Logs: one line per event, as JSON or for people; session ids are fields, and no secret gets in."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, TextIO

from hermes_stream.video.location import mask_secrets

LogFormat = Literal["json", "text"]

_SESSION: ContextVar[str | None] = ContextVar("hermes_stream_session", default=None)
# What this server makes as a key, and what a client may send as one.
_KEYS = re.compile(r"\b(?:hs_|ek_)[A-Za-z0-9_-]{16,}|(?<=openai-insecure-api-key\.)[^\s,\"']+|(?<=Bearer )[^\s,\"']+")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "session", "color_message"}
# uvicorn tells of each WebSocket and each start and stop; we do so ourselves.
_LOUD = ("uvicorn", "uvicorn.error", "uvicorn.access", "websockets")


@contextmanager
def about_session(name: str) -> Iterator[None]:
    """What is logged inside, also by what is called, belongs to this session."""
    token = _SESSION.set(name)
    try:
        yield
    finally:
        _SESSION.reset(token)


def belongs_to(name: str) -> None:
    """What this task logs from now on belongs to this session."""
    _SESSION.set(name)


def configure_logs(log_format: LogFormat | None = None, stream: TextIO | None = None) -> None:
    """All of the process' logs, on standard error. log_format: by default text on a terminal, else JSON."""
    stream = stream or sys.stderr
    if log_format is None:
        log_format = "text" if stream.isatty() else "json"
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    # Its own handlers are those of commands that speak to people.
    ours = logging.getLogger("hermes_stream")
    ours.handlers.clear()
    ours.setLevel(logging.INFO)
    for name in _LOUD:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, session, whatever else was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        row: dict[str, Any] = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if trace := _trace(self, record):
            row["trace"] = trace
        return json.dumps({name: _masked(value) for name, value in row.items()}, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f"  {name}={value}" for name, value in _fields(record).items())
        trace = _trace(self, record)
        line = f"{_utc(record.created)} {record.levelname:7s} {record.getMessage()}{fields}"
        return str(_masked(f"{line}\n{trace}" if trace else line))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    session = getattr(record, "session", None) or _SESSION.get()
    given = {name: value for name, value in vars(record).items() if name not in _STANDARD and value is not None}
    return ({} if session is None else {"session": session}) | given


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return formatter.formatException(record.exc_info) if record.exc_info else ""


def _masked(value: Any) -> Any:
    return _KEYS.sub("***", mask_secrets(value)) if isinstance(value, str) else value


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"
