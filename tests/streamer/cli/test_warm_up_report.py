"""Progress of the warm-up: a bar where it can be redrawn, lines elsewhere."""

from __future__ import annotations

import io
import logging

import pytest

from streamer.cli import warm_up_report
from streamer.cli.terminal import Terminal
from streamer.cli.warm_up_report import WarmUpReport


@pytest.fixture(autouse=True)
def _capable_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests themselves run in may be a terminal that cannot redraw."""
    monkeypatch.setenv("TERM", "xterm")


def test_lines_in_a_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_up_report, "LINE_EVERY_S", 0.0)
    out = io.StringIO()
    report = WarmUpReport(Terminal(file=out))
    with caplog.at_level(logging.INFO):
        report(1, 3)
        report(3, 3)
    assert caplog.messages[0] == "warming up the model: 1 of 3 steps"
    assert caplog.messages[1].startswith("the model is warm after 0.")
    assert out.getvalue() == ""


def test_bar_in_a_terminal(caplog: pytest.LogCaptureFixture) -> None:
    out = io.StringIO()
    report = WarmUpReport(Terminal(file=out, force_terminal=True, width=80))
    with caplog.at_level(logging.INFO):
        for done in range(1, 4):
            report(done, 3)
    assert "warming up the model" in out.getvalue()
    assert "3/3" in out.getvalue()
    assert len(caplog.messages) == 1


def test_terminal_is_restored_after_a_stopped_warm_up() -> None:
    out = io.StringIO()
    report = WarmUpReport(Terminal(file=out, force_terminal=True, width=80))
    report(1, 3)
    assert "\x1b[?25h" not in out.getvalue()
    report.close()
    assert "\x1b[?25h" in out.getvalue()  # the cursor
    report.close()
