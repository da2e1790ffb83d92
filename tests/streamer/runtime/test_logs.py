"""What the daemon writes to its log."""

from __future__ import annotations

import io
import json
import logging

import pytest

from streamer.runtime.logs import (
    MESSAGES_REMEMBERED,
    PERIOD_S,
    SAME_MESSAGES_PER_PERIOD,
    RateLimitFilter,
    configure_logging,
    stream_logger,
)

LOGGER = logging.getLogger("streamer.gatekeeper")


@pytest.mark.usefixtures("root_logger")
def test_text_line_has_time_level_logger_and_message() -> None:
    out = io.StringIO()
    configure_logging("info", "text", out)
    stream_logger(LOGGER, "gate").warning("timeout; reconnecting in %.1f s", 2.0)
    LOGGER.info("serving")
    LOGGER.debug("unheard")
    first, second = out.getvalue().splitlines()
    assert first.split(" ", 1)[1] == "warning gate: timeout; reconnecting in 2.0 s"
    assert second.split(" ", 1)[1] == "info    gatekeeper: serving"
    assert first[:2] == "20"
    assert first.split(" ")[0].endswith("Z")


@pytest.mark.usefixtures("root_logger")
def test_json_line_is_one_object_with_the_stream_and_the_traceback() -> None:
    out = io.StringIO()
    configure_logging("debug", "json", out)
    try:
        raise ValueError("no picture at rtsp://admin:hunter2@cam/1")
    except ValueError as error:
        stream_logger(LOGGER, "gate").error("failed", exc_info=error)
    (line,) = out.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["stream"], entry["message"]) == ("error", "gate", "failed")
    assert "ValueError: no picture" in entry["error"]
    assert "hunter2" not in line


@pytest.mark.usefixtures("root_logger")
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_password_never_reaches_the_log(log_format: str) -> None:
    out = io.StringIO()
    configure_logging("info", log_format, out)
    LOGGER.warning("cannot open %s", "rtsp://admin:hunter2@10.0.0.5/live")
    assert "hunter2" not in out.getvalue()
    assert "10.0.0.5/live" in out.getvalue()


@pytest.mark.usefixtures("root_logger")
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_text_of_others_can_neither_act_nor_forge_a_line(log_format: str) -> None:
    out = io.StringIO()
    configure_logging("info", log_format, out)
    hostile = "404\x1b[2J\x9b1m\u202e\n2026-11-21T02:47:25.123Z info    app: all is well"
    stream_logger(LOGGER, "ga\x1bte").warning("the camera says %s", hostile)
    try:
        raise ValueError(hostile)
    except ValueError as error:
        LOGGER.error("failed", exc_info=error)
    lines = out.getvalue().splitlines()
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith("2026-11-21") for line in lines)
    assert "404" in lines[0]
    assert "all is well" in lines[0]


def record(line: int, stream: str = "") -> logging.LogRecord:
    made = logging.LogRecord("streamer.x", logging.WARNING, "x.py", line, "again", (), None)
    made.stream = stream
    return made


def test_repeated_message_is_limited_and_the_suppressed_count_logged() -> None:
    now_s = 0.0
    limit = RateLimitFilter(lambda: now_s)
    passed = [limit.filter(record(1)) for _ in range(SAME_MESSAGES_PER_PERIOD + 100)]
    assert sum(passed) == SAME_MESSAGES_PER_PERIOD
    assert limit.filter(record(2))
    assert limit.filter(record(1, stream="yard"))
    now_s = PERIOD_S
    again = record(1)
    assert limit.filter(again)
    assert again.held_back == 100  # type: ignore[attr-defined]


def test_limit_remembers_a_bounded_number_of_places() -> None:
    limit = RateLimitFilter(lambda: 0.0)
    for line in range(MESSAGES_REMEMBERED * 2):
        limit.filter(record(line))
    assert len(limit._places) == MESSAGES_REMEMBERED
