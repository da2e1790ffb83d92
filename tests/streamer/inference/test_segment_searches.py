"""A search for everything that takes longer than a frame is held."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streamer.inference.prompts.recent_frames import HELD_FOR_S, Holder, RecentFrame
from streamer.inference.segment_searches import SegmentRequest, SegmentSearches
from streamer.types import FrameReference
from tests.streamer.fakes import FakeClock
from tracker import GeneratorOptions

FRAME = RecentFrame(index=7, tracker_index=5, session_id="first", capture_time_ns=0, time_ns=0)


class Stream:
    """Of a tracked stream what a search uses; remembers until when its frame is held."""

    session = None

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.held_since_ns: list[int] = []

    def frame_of(self, reference: FrameReference | None) -> RecentFrame:
        assert reference in (None, FrameReference(7, session_id="first"))
        return FRAME

    def hold(self, frame: RecentFrame, holder: Holder) -> None:
        assert (frame, holder) == (FRAME, Holder.SEGMENTS)
        self.held_since_ns.append(self.clock.monotonic_ns())


def test_its_frame_is_held_anew_with_every_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    stream = Stream(clock)

    def passes(*_: object) -> Iterator[None]:
        for _ in range(4):
            clock.advance(HELD_FOR_S - 1)
            yield
        return []

    monkeypatch.setattr(SegmentSearches, "_passes", passes)
    tracker = SimpleNamespace(conditioned=lambda session, index: (None, (4, 6)))
    searches = SegmentSearches(cast(Any, tracker), cast(Any, {"gate": stream}), clock)
    request = SegmentRequest("gate", GeneratorOptions())
    searches.begin(request)
    while searches.advance(idle=True):
        pass
    assert request.outcome.result(0).frame_index == 7
    gaps_ns = [b - a for a, b in zip(stream.held_since_ns, stream.held_since_ns[1:], strict=False)]
    assert max(gaps_ns) < HELD_FOR_S * 1e9
    assert stream.held_since_ns[-1] == clock.monotonic_ns()


def test_passes_take_a_quarter_of_the_time_beside_slow_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock()
    points: list[int] = []

    def passes(searches: SegmentSearches, *_: object) -> Iterator[None]:
        while len(points) < 40:
            points.append(searches._points)
            clock.advance(0.005 * searches._points)
            yield
        return []

    monkeypatch.setattr(SegmentSearches, "_passes", passes)
    tracker = SimpleNamespace(conditioned=lambda session, index: (None, (4, 6)))
    searches = SegmentSearches(cast(Any, tracker), cast(Any, {"gate": Stream(clock)}), clock)
    searches.begin(SegmentRequest("gate", GeneratorOptions()))
    began_s = clock.monotonic_ns() / 1e9
    while searches._running:
        clock.advance(0.12)  # a step
        searches.advance(idle=False)
    share = sum(points) * 0.005 / (clock.monotonic_ns() / 1e9 - began_s)
    assert 0.2 < share < 0.26
    assert max(points) * 0.005 <= 0.04  # a third of a step
