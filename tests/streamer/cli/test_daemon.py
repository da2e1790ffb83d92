"""The end of the daemon's process while threads hang."""

from __future__ import annotations

import threading

import pytest

from streamer.cli import daemon
from streamer.config.schema import MaskletConfig
from streamer.config.streams import StreamConfig


class Ended(BaseException):
    """The process would have ended here, without taking the interpreter apart."""


@pytest.mark.parametrize("thread_name", ["source-gate", "inference", "starter-gate"])
def test_process_ends_at_once_beside_a_thread_that_hangs(
    thread_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ran(app: object) -> int:
        return 0

    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(daemon, "App", lambda config, **_: None)
    monkeypatch.setattr(daemon, "_run_until_signalled", ran)
    monkeypatch.setattr(daemon.logging, "shutdown", lambda: None)
    monkeypatch.setattr(daemon.os, "_exit", end)
    assert daemon.run_daemon(MaskletConfig()) == 0
    over = threading.Event()
    hanging = threading.Thread(target=over.wait, name=thread_name)
    hanging.start()
    try:
        with pytest.raises(Ended):
            daemon.run_daemon(MaskletConfig())
    finally:
        over.set()
        hanging.join()


def test_a_stream_that_cannot_work_is_named_before_the_model_loads(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(daemon, "App")
    config = MaskletConfig(streams={"gate": StreamConfig(url="synthetic://nope")})
    assert daemon.run_daemon(config) == 2
    assert "streams.gate.url: the synthetic scene must be match" in caplog.text
