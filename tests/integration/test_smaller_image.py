"""A real, overloaded tracker switches to smaller images and back, with frames in flight."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from streamer.app import App
from streamer.config.schema import ModelSection, OverloadConfig
from streamer.config.streams import ObjectConfig, StreamConfig
from tests.integration.test_live_path import running, settings
from tests.integration.test_overload import reasons, until
from tests.streamer.fakes import RecordingSink
from tests.tracker.agreement.scripts import model_with, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tests.tracker.little import LITTLE
from tracker import Tracker, TrackerOptions
from tracker.options import EngineOptions

CAMERA = "synthetic://match?seed=3&width=160&height=96&rate_hz=12&players=2"
SEEN = 30.0


class SlowTracker(Tracker):
    """Takes 40 ms for a frame of 64 pixels, and 10 for one of 32."""

    def submit(self, batch: Sequence[Any]) -> Any:
        time.sleep(len(batch) * 0.04 * (self.config.image_size / 64) ** 2)
        return super().submit(batch)


def camera() -> StreamConfig:
    return StreamConfig(url=CAMERA, objects=[ObjectConfig(id=1, points=[[40.0, 40.0]])])


async def test_objects_continue_through_a_smaller_size_and_back(tmp_path: Path) -> None:
    cameras = {f"cam{number}": camera() for number in range(4)}
    config = settings(tmp_path, **cameras).changed(
        model=ModelSection(prepare_ahead="always"),
        overload=OverloadConfig(policy="smaller_image", begin_after_s=1.0, end_after_s=1.0),
    )
    weights = amplified_weights(shapes_of(LITTLE), seed=1, object_score_bias=SEEN)
    options = TrackerOptions(8, engine=EngineOptions(smaller_image_sizes=(32,)))
    tracker = SlowTracker(model_with(LITTLE, weights), torch.device("cpu"), options)
    sink = RecordingSink()
    app = App(config, tracker=tracker, further_sinks=[sink])
    async with running(app):
        await until(lambda: all(reasons(sink, name) for name in cameras))
        assert tracker.config.image_size == 32
        (event, *_) = [each for each in sink.published.events("cam0") if each.reason == "overload"]
        assert str(event.detail).startswith("smaller_image: tracked at 32 of 64 pixels; ")
        # Remembered at both sizes; the state kept for the next start is at the largest.
        kept = await app.objects.snapshots("cam0")
        assert [each.memory.spatial_FLc.shape[1] for each in kept] == [16]
        for name in ("cam1", "cam2", "cam3"):
            await app.streams.remove(name)
        await app.streams.change("cam0", {"max_rate_hz": 3})
        await until(lambda: reasons(sink, "cam0") == ["overload", "overload_ended"])
        assert tracker.config.image_size == 64
        count = len(sink.published.results("cam0"))
        await until(lambda: len(sink.published.results("cam0")) > count + 5)
    newest = sink.published.results("cam0")[-1]
    assert [each.track.object_id for each in newest.objects] == [1]
    assert newest.frame.prepared is not None
    sizes = {
        each.frame.prepared.pixels_13SS.shape[2]
        for each in sink.published.results()
        if each.frame.prepared is not None
    }
    assert sizes == {64, 32}
