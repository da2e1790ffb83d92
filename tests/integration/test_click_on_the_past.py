"""A click on the past position of a fast player hits the player, not what is there now."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from streamer.app import App
from streamer.config.schema import HistoryConfig
from streamer.config.streams import StreamConfig
from streamer.runtime.clock import seconds_to_ns
from streamer.sources import SourceOutput
from streamer.types import ClockSource, DecodedFrame, FrameReference, RgbPixels
from tests.integration.test_live_path import running, settings, until
from tests.streamer.fakes import RecordingSink, sources
from tracker import Prompt, Track, Tracker
from tracker.scenes.match import DEMO_SEED, Match
from tracker.types import MaskArray

RATE_HZ = 25.0
FIRST = 20  # of the scene; two players in full view run across the pitch from here on
CLICKED, NEWEST, LAST = 0, 15, 25  # of the stream
FAST_PLAYERS = (2, 6)


@pytest.fixture(scope="module")
def match() -> Match:
    """Players that are elsewhere after half a second."""
    return Match(DEMO_SEED, rate_hz=RATE_HZ, pace=2.0, occluders=0)


@pytest.fixture
def tracker() -> Tracker:
    """The network that is shipped."""
    return Tracker.from_checkpoint("nano", device="cpu")


class Camera:
    """Delivers the scene's frames one by one, as far as released."""

    def __init__(self, match: Match) -> None:
        self._match = match
        self._may_deliver = threading.Semaphore(0)
        self.delivered = 0

    def let(self, frames: int) -> None:
        self._may_deliver.release(frames)

    def __call__(self, output: SourceOutput, stop: threading.Event) -> None:
        while not stop.is_set():
            if self._may_deliver.acquire(timeout=0.05):
                output.frame(self._picture(self.delivered))
                self.delivered += 1

    def _picture(self, number: int) -> DecodedFrame:
        time_ns = seconds_to_ns(number / RATE_HZ)
        return DecodedFrame(
            pixels=RgbPixels(self._match.render(FIRST + number).image),
            pts=number,
            time_base=Fraction(1, round(RATE_HZ)),
            capture_time_ns=time_ns,
            clock_source=ClockSource.FILE,
            arrival_time_ns=time_ns,
            arrival_monotonic_ns=time_ns,
            decoded_monotonic_ns=time_ns,
        )


def truth(match: Match, player: int, frame: int) -> MaskArray:
    return match.render(FIRST + frame).masks[player]


def click_on(match: Match, player: int, frame: int, object_id: int) -> Prompt:
    """The pixel of the player nearest to the player's centre, on that frame."""
    y, x = np.nonzero(truth(match, player, frame))
    nearest = np.argmin((x - x.mean()) ** 2 + (y - y.mean()) ** 2)
    return Prompt(object_id, ((float(x[nearest]) + 0.5, float(y[nearest]) + 0.5),), (1,))


def iou(track: Track | None, expected: MaskArray) -> float:
    assert track is not None
    return float((track.mask & expected).sum() / (track.mask | expected).sum())


async def test_click_on_an_earlier_frame_hits_and_on_the_newest_misses(
    tmp_path: Path, match: Match, tracker: Tracker
) -> None:
    camera, sink = Camera(match), RecordingSink()
    app = App(
        settings(tmp_path, gate=StreamConfig(url="synthetic://match")),
        tracker=tracker,
        further_sinks=[sink],
        make_source=sources(camera, lossless=True),
    )
    async with running(app):
        camera.let(NEWEST + 1)
        await until(lambda: len(sink.published.results("gate")) == NEWEST + 1)
        at_click, caught_up, too_late = [], [], []
        for player in FAST_PLAYERS:
            click = click_on(match, player, CLICKED, player)
            assert not truth(match, player, NEWEST)[tuple(map(int, click.points_xy[0][::-1]))]
            late = await app.objects.preview("gate", click)
            assert late.frame_index == NEWEST
            answer = await app.objects.prompt(
                "gate", click, reference=FrameReference(frame_index=CLICKED)
            )
            assert (answer.frame_index, answer.latest_frame_index) == (CLICKED, NEWEST)
            too_late.append(iou(late.track, truth(match, player, NEWEST)))
            at_click.append(iou(answer.track, truth(match, player, CLICKED)))
            caught_up.append(iou(answer.latest_track, truth(match, player, NEWEST)))
        assert np.mean(at_click) > 0.4
        assert np.mean(caught_up) > 0.4
        assert np.mean(too_late) < 0.2

        assert {each.object_id for each in app.objects.of("gate")} == set(FAST_PLAYERS)
        assert app.objects.next_id("gate") == 1
        camera.let(LAST - NEWEST)
        await until(lambda: len(sink.published.results("gate")) == LAST + 1)
        result = sink.published.results("gate")[-1]
        followed = [
            iou(each.track, truth(match, each.track.object_id, LAST)) for each in result.objects
        ]
        assert len(followed) == len(FAST_PLAYERS)
        assert np.mean(followed) > 0.3


async def test_click_on_a_frame_that_is_gone_is_rejected_and_changes_nothing(
    tmp_path: Path, match: Match, tracker: Tracker
) -> None:
    camera, sink = Camera(match), RecordingSink()
    config = settings(tmp_path, gate=StreamConfig(url="synthetic://match"))
    config = config.changed(history=HistoryConfig(mib=3.0))  # four pictures of 640 × 360
    app = App(
        config, tracker=tracker, further_sinks=[sink], make_source=sources(camera, lossless=True)
    )
    async with running(app):
        camera.let(NEWEST + 1)
        await until(lambda: len(sink.published.results("gate")) == NEWEST + 1)
        click = click_on(match, 2, CLICKED, 2)
        answer = await app.objects.prompt(
            "gate", click, reference=FrameReference(frame_index=CLICKED), request_id="mine"
        )
        assert not answer.applied
        assert answer.reason == (
            "frame 0 is too old, 15 frames before the newest; "
            "frames 12 to 15 (0.12 s) can be prompted"
        )
        await until(lambda: "prompt_rejected" in sink.published.event_kinds())
        (event,) = (each for each in sink.published.events() if each.kind == "prompt_rejected")
        assert (event.request_id, event.reason) == ("mine", answer.reason)
        assert app.objects.of("gate") == []


def test_tracked_player_continues_in_another_tracker(match: Match, tracker: Tracker) -> None:
    player, restart = FAST_PLAYERS[0], 5
    session = tracker.open_session()
    for frame in range(restart):
        prompts = [click_on(match, player, 0, player)] if frame == 0 else []
        tracker.step([(session, match.render(FIRST + frame).image, prompts)])
    memory = session.export_object(player)
    restarted = Tracker.from_checkpoint("nano", device="cpu")
    continued = restarted.open_session()
    continued.import_object(player, memory)
    seen = []
    for frame in range(restart + 5, restart + 10):  # the player was not visible meanwhile
        ((track,),) = restarted.step([(continued, match.render(FIRST + frame).image, [])])
        seen.append(iou(track, truth(match, player, frame)))
    assert np.mean(seen) > 0.3
