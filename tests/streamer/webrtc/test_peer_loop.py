"""An event loop that cannot be."""

from __future__ import annotations

import asyncio

import pytest

from streamer.webrtc.peer_loop import PeerLoop


def test_loop_that_cannot_start_raises_an_error_without_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_more_files() -> asyncio.AbstractEventLoop:
        raise OSError("too many open files")

    monkeypatch.setattr(asyncio.events, "new_event_loop", no_more_files)
    with pytest.raises(OSError, match="too many open files"), PeerLoop("none"):
        pass
