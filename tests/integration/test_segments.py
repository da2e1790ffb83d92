"""Everything on the newest frame of a stream, found beside the tracking, and one of it tracked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from streamer.app import App
from streamer.config.streams import StreamConfig
from streamer.errors import BusyError, ControlError
from streamer.inference.segment_searches import SegmentRequest
from streamer.wire.mask_codecs import MaskEncoding, decode_crop
from tests.integration.test_click_on_the_past import Camera
from tests.integration.test_live_path import running, settings, until
from tests.streamer.api.serving import WAIT_S, problem
from tests.streamer.fakes import RecordingSink, sources
from tracker import Tracker
from tracker.scenes.match import DEMO_SEED, Match

SEARCH = {"points_per_side": 12, "min_mask_region_area": 30}
PATH = "/v1/streams/gate/segments"


class Daemon:
    """A daemon with one stream of a rendered match, and a client of its API."""

    def __init__(self, app: App, camera: Camera, sink: RecordingSink) -> None:
        self.app, self.camera, self.sink = app, camera, sink
        self.client = httpx.AsyncClient(base_url=str(app.endpoints.api), timeout=WAIT_S)

    async def frames(self, count: int) -> None:
        before = len(self.sink.published.results("gate"))
        self.camera.let(count)
        await until(lambda: len(self.sink.published.results("gate")) == before + count)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Daemon]:
    camera, sink = Camera(Match(DEMO_SEED, occluders=0)), RecordingSink()
    app = App(
        settings(folder, gate=StreamConfig(url="synthetic://match")),
        tracker=Tracker.from_checkpoint("nano", device="cpu"),
        further_sinks=[sink],
        make_source=sources(camera, lossless=True),
    )
    async with running(app):
        daemon = Daemon(app, camera, sink)
        async with daemon.client:
            yield daemon


async def test_everything_is_found_beside_the_tracking_and_one_is_tracked(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        await daemon.frames(2)
        search = asyncio.create_task(daemon.client.post(PATH, json=SEARCH))
        await daemon.frames(5)  # the stream goes on meanwhile
        answer = await search
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert (found["width"], found["height"]) == (640, 360)
        assert found["segments"]
        for segment in found["segments"]:
            mask = segment["mask"]
            crop = decode_crop(mask["counts"].encode(), MaskEncoding.RLE, *mask["size"])
            x0, y0, x1, y1 = segment["bbox"]
            assert crop.shape == (y1 - y0, x1 - x0)
            assert crop.sum() == segment["area"] >= 1
        assert not daemon.app.objects.of("gate")  # nothing is tracked by looking

        # Its frame is kept: the mask becomes an object there, and follows to the newest.
        await daemon.frames(3)
        one = max(found["segments"], key=lambda each: each["predicted_iou"])
        frame = {"frame_index": found["frame_index"], "session_id": found["session_id"]}
        body = {"mask": one["mask"], "frame": frame}
        tracked = await daemon.client.post("/v1/streams/gate/objects", json=body)
        assert tracked.status_code == 201, tracked.text
        assert tracked.json()["frame_index"] == found["frame_index"]
        # The network sees it in cells of ten pixels, and loses what is thinner.
        inner, outer = np.array(tracked.json()["track"]["bbox"]), np.array(one["bbox"])
        assert (inner[:2] >= outer[:2] - 10).all()
        assert (inner[2:] <= outer[2:] + 10).all()
        assert (inner[2:] > inner[:2]).all()


def begun(daemon: Daemon) -> SegmentRequest:
    """A search of many seconds, in the inference thread's queue."""
    commands = daemon.app._inferences[0].commands
    request = SegmentRequest("gate", commands.search_options(points_per_side=128))
    commands.search(request)
    return request


async def test_one_search_of_a_stream_at_a_time(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        await daemon.frames(1)
        first = begun(daemon)
        refused = await daemon.client.post(PATH, json=SEARCH)
        detail = problem(refused, 429, "too_many_requests")["detail"]
        assert detail == "stream gate is being searched already"
        assert refused.headers["retry-after"] == "1"
        assert first.outcome.cancel()  # as when its client waits no longer
        assert (await daemon.client.post(PATH, json={"points_per_side": 2})).status_code == 200


async def test_search_without_a_frame_or_of_a_stream_that_goes_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        refused = await daemon.client.post(PATH)
        detail = problem(refused, 409, "refused")["detail"]
        assert detail == "no frame of this stream was tracked yet"
        await daemon.frames(1)
        request = begun(daemon)
        await daemon.app.streams.remove("gate")
        with pytest.raises(ControlError, match="the stream was removed"):
            await asyncio.wrap_future(request.outcome)


async def test_search_that_takes_too_long_ends(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        await daemon.frames(1)
        with pytest.raises(BusyError, match="ask for fewer points_per_side"):
            await daemon.app.objects.segments("gate", timeout_s=0.05, points_per_side=128)
        assert (await daemon.client.post(PATH, json={"points_per_side": 2})).status_code == 200
