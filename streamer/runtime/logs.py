"""The daemon's own log on stderr: text or JSON lines, without secrets, escaped, limited in rate."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal, TextIO

from streamer.runtime.escaping import escaped
from streamer.runtime.redaction import redact

SAME_MESSAGES_PER_PERIOD = 5
PERIOD_S = 10.0
MESSAGES_REMEMBERED = 512


def configure_logging(
    level: str, log_format: Literal["text", "json"] = "text", stream: TextIO | None = None
) -> logging.Handler:
    """Send everything that is logged in this process, from ``level`` up, to ``stream`` (stderr).

    Returns the handler, which replaces those that the root logger had.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.addFilter(RateLimitFilter())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    if level == "info":
        # Details to an operator: every address that a WebRTC peer tries, every request that our
        # own client makes, and the statistics of torch's caches at the end.
        for library in ("aioice", "httpx", "torch"):
            logging.getLogger(library).setLevel(logging.WARNING)
    return handler


class TextFormatter(logging.Formatter):
    """``2026-11-21T02:47:25.123Z warning gate: refused; reconnecting in 2.0 s``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the lines of a traceback."""
        stream_id = _stream(record)
        where = stream_id or record.name.removeprefix("streamer.")
        line = f"{_timestamp(record)} {record.levelname.lower():7} {where}: {_message(record)}"
        # Indented: no line of an error's text can be taken for a line of the log.
        more = [f"    {each}" for each in _traceback(self, record).split("\n") if each]
        return "\n".join(escaped(redact(each)) for each in (line, *more))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and ``error`` with a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        entry = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
        }
        if stream_id := _stream(record):
            entry["stream"] = stream_id
        entry["message"] = redact(_message(record))
        traceback = _traceback(self, record)
        if traceback:
            entry["error"] = redact(traceback)
        return escaped(json.dumps(entry, ensure_ascii=False))


def stream_logger(logger: logging.Logger, stream_id: str) -> logging.LoggerAdapter[logging.Logger]:
    """A logger whose records carry the stream they are about."""
    return logging.LoggerAdapter(logger, {"stream": stream_id})


class RateLimitFilter(logging.Filter):
    """Lets the same message through ``SAME_MESSAGES_PER_PERIOD`` times in ``PERIOD_S``.

    Messages are the same if they come from one place in the code and concern one stream. The next
    one that passes carries the number of those held back. Bound: ``MESSAGES_REMEMBERED`` places;
    policy: the longest unused is forgotten.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic_s = monotonic_s
        self._places: OrderedDict[tuple[str, int, str], _Place] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Called by the handler, under its lock."""
        now_s = self._monotonic_s()
        key = (record.pathname, record.lineno, _stream(record))
        place = self._places.pop(key, None) or _Place(now_s)
        self._places[key] = place
        if len(self._places) > MESSAGES_REMEMBERED:
            self._places.popitem(last=False)
        if now_s - place.since_s >= PERIOD_S:
            place.since_s, place.passed = now_s, 0
        if place.passed >= SAME_MESSAGES_PER_PERIOD:
            place.held_back += 1
            return False
        place.passed += 1
        record.held_back = place.held_back
        place.held_back = 0
        return True


class _Place:
    """A place in the code that logs."""

    __slots__ = ("held_back", "passed", "since_s")

    def __init__(self, since_s: float) -> None:
        self.since_s = since_s
        self.passed = 0
        self.held_back = 0


def _message(record: logging.LogRecord) -> str:
    held_back = getattr(record, "held_back", 0)
    more = f" ({held_back} more like this were not logged)" if held_back else ""
    return record.getMessage() + more


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return formatter.formatException(record.exc_info) if record.exc_info else ""


def _timestamp(record: logging.LogRecord) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{whole}.{int(record.msecs):03d}Z"


def _stream(record: logging.LogRecord) -> str:
    return str(getattr(record, "stream", ""))
