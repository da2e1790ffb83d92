"""``starter=text`` in a running daemon: captions start objects, and find lost ones again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from streamer.app import App
from streamer.config.starters import StarterConfig
from streamer.config.streams import StreamConfig
from streamer.sources import SourceOutput
from streamer.starters.words.load import load_detector
from streamer.starters.words.text_detector import TextDetector
from streamer.types import RgbPixels
from tests.integration.test_live_path import SMALL, running, settings, until
from tests.streamer.fakes import HIDES, FakeTracker, RecordingSink, picture, sources
from tests.streamer.starters.words.tiny_models import save_tiny
from tracker import Prompt, Track
from tracker.step.correction import Correction

CAPTIONS = {"ball": "the ball", "person": "player"}


class BoxTracker(FakeTracker):
    """Finds each object where its last prompt put it."""

    def __init__(self) -> None:
        super().__init__()
        self.prompts: list[Prompt] = []

    def step(self, batch: Sequence[Any]) -> list[list[Track]]:
        return [[self._placed(each) for each in tracks] for tracks in super().step(batch)]

    def correct(
        self, session: Any, prompts: Sequence[Prompt], frame_index: int, *, anew: bool
    ) -> Correction:
        self.prompts += prompts
        made = super().correct(session, prompts, frame_index, anew=anew)
        return Correction(
            [self._placed(each) for each in made.tracks],
            [self._placed(each) for each in made.latest],
        )

    def _placed(self, track: Track) -> Track:
        if track.area == 0:
            return track
        box = next(p.box_xyxy for p in reversed(self.prompts) if p.object_id == track.object_id)
        assert box is not None
        x0, y0, x1, y1 = (round(each) for each in box)
        crop = np.ones((y1 - y0, x1 - x0), dtype=np.bool_)
        return replace(track, box_xyxy=(x0, y0, x1, y1), crop=crop, area=crop.size)


async def test_caption_starts_an_object_and_finds_it_again_when_it_is_lost(tmp_path: Path) -> None:
    model = str(save_tiny("d_fine", tmp_path / "detector"))
    noise = np.random.default_rng(0).integers(0, 255, (96, 160, 3), dtype=np.uint8)
    detector = TextDetector(
        load_detector(model, fetch=False), CAPTIONS, threads=1, minimum_score=0.01
    )
    found = detector(noise)
    best, next_best = sorted(found, key=lambda each: -each.score)[:2]
    hides = threading.Event()

    def plays(output: SourceOutput, stop: threading.Event) -> None:
        number = 0
        while not stop.wait(0.03):
            image = noise.copy()
            if hides.is_set():
                image[0, 0] = HIDES
            output.frame(replace(picture(number), pixels=RgbPixels(image)))
            number += 1

    starter = StarterConfig(
        kind="text",
        model=model,
        captions=CAPTIONS,
        minimum_score=(best.score + next_best.score) / 2,
        minimum_hits=2,
        rate_hz=30.0,
        lost_wait_s=0.0,
        remove_lost_s=0.0,
        timeout_s=60.0,
    )
    tracker, sink = BoxTracker(), RecordingSink()
    app = App(
        settings(tmp_path, gate=StreamConfig(url=SMALL, starter=starter)),
        tracker=tracker,  # type: ignore[arg-type]
        further_sinks=[sink],
        make_source=sources(plays),
    )
    async with running(app):
        await until(lambda: app.objects.of("gate"))
        (begun,) = app.objects.of("gate")
        assert begun.label == best.label
        prompts = len(tracker.prompts)
        hides.set()
        await until(lambda: len(tracker.prompts) > prompts)
        assert {each.object_id for each in tracker.prompts} == {begun.object_id}
        assert tracker.prompts[-1].box_xyxy == best.box_xyxy
        state = app.starters.state("gate")
        assert state is not None
        assert (state.kind, state.started) == ("text", 1)
