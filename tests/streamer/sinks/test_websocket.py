"""Results over WebSockets: what the messages hold, and what happens to slow readers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from streamer.runtime.metrics import Metrics
from streamer.sinks.json_messages import JsonMasks
from streamer.sinks.websocket import FRAMES_PER_READER, OTHERS_PER_READER, ResultsHub
from streamer.types import FrameResult, StreamState
from streamer.wire.codec import FrameMessage, MaskEncoding, decode, encode_frame
from tests.streamer.fakes import FakeClock
from tests.streamer.wire.wire_samples import (
    ARRIVAL_MONOTONIC_NS,
    CAPTURE_NS,
    ORIGIN,
    event,
    published_clock_ns,
    result,
    status,
    track,
)
from tracker.types import MaskArray

# pycocotools, on numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def hub() -> ResultsHub:
    return ResultsHub(Metrics(), FakeClock(CAPTURE_NS + 30_000_000))


async def text_of(hub: ResultsHub, item: FrameResult, masks: JsonMasks) -> dict:
    with hub.read("gate", masks) as reader:
        await hub.publish(item)
        return json.loads(await anext(reader))


async def test_frame_carries_times_and_objects(hub: ResultsHub) -> None:
    message = await text_of(hub, result(dropped={"superseded": 2}), JsonMasks.NONE)
    assert message["type"] == "frame"
    assert message["frame_index"] == 7
    assert message["time_base"] == [1, 90_000]
    assert message["capture_time_ms"] == pytest.approx(CAPTURE_NS / 1e6)
    assert message["latency_ms"] == pytest.approx(30.0)
    assert message["rtp_time"] == ARRIVAL_MONOTONIC_NS * 90_000 // 10**9 % 2**32
    assert message["stage_times_ns"]["tracked"] == 26_000_000
    assert message["dropped_since_last"] == {"superseded": 2}
    assert [each["state"] for each in message["objects"]] == ["visible", "occluded"]
    assert message["objects"][0]["bbox"] == [10, 20, 15, 26]
    assert message["objects"][0]["mask"] is None


def pixels_of_counts(mask: dict) -> MaskArray:
    """Decoded by another reader than ours."""
    from pycocotools import mask as coco_mask

    height, width = mask["size"]
    rle = {"size": [height, width], "counts": mask["counts"].encode()}
    return np.asarray(coco_mask.decode(rle), dtype=np.bool_)


async def test_rle_masks_are_the_pixels_of_the_zeromq_client(hub: ResultsHub) -> None:
    random = np.random.default_rng(1)
    crops = [random.random((random.integers(1, 40), random.integers(1, 60))) < 0.5 for _ in "1234"]
    item = result(tracks=[track(n, crop, (3, 2)) for n, crop in enumerate(crops, 1)])
    wire = decode(
        encode_frame(
            item,
            origin=ORIGIN,
            seq=0,
            published_clock_ns=published_clock_ns,
            encoding=MaskEncoding.RLE,
        )
    )
    assert isinstance(wire, FrameMessage)
    message = await text_of(hub, item, JsonMasks.RLE)
    for entry, written in zip(wire.objects, message["objects"], strict=True):
        assert entry.mask is not None
        assert tuple(written["mask"]["offset"]) == entry.mask.offset
        np.testing.assert_array_equal(pixels_of_counts(written["mask"]), wire.crop(entry))


async def test_polygons_follow_the_outline(hub: ResultsHub) -> None:
    crop = np.zeros((40, 60), dtype=np.uint8)
    cv2.ellipse(crop, (30, 20), (28, 18), 0, 0, 360, 1, -1)
    message = await text_of(
        hub, result(tracks=[track(1, crop.astype(np.bool_), (2, 3))]), JsonMasks.POLYGON
    )
    mask = message["objects"][0]["mask"]
    assert mask["encoding"] == "polygon"
    drawn = np.zeros_like(crop)
    cv2.fillPoly(drawn, [np.array(ring).reshape(-1, 2) for ring in mask["polygons"]], 1)
    assert (drawn & crop).sum() / (drawn | crop).sum() > 0.95


async def test_large_masks_are_encoded_off_the_loop_with_the_same_outcome(hub: ResultsHub) -> None:
    crop = np.ones((700, 700), dtype=np.bool_)
    item = result(tracks=[track(1, crop, (0, 0), width=800, height=800)], width=800, height=800)
    message = await text_of(hub, item, JsonMasks.RLE)
    assert pixels_of_counts(message["objects"][0]["mask"]).all()


async def test_reader_gets_the_state_first_then_events(hub: ResultsHub) -> None:
    await hub.publish(status())
    with hub.read("gate", JsonMasks.NONE) as reader:
        await hub.publish(event())
        first, second = json.loads(await anext(reader)), json.loads(await anext(reader))
    assert (first["type"], first["state"], first["url"]) == (
        "status",
        "live",
        "rtsp://***@camera/stream",
    )
    assert (second["type"], second["kind"], second["label"]) == ("event", "occluded", "keeper")


async def test_readers_of_one_kind_share_one_encoding(
    hub: ResultsHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    import streamer.sinks.websocket as module

    encoded = []
    original = module.json_frame
    monkeypatch.setattr(
        module, "json_frame", lambda *parts: encoded.append(parts[1]) or original(*parts)
    )
    with (
        hub.read("gate", JsonMasks.RLE) as first,
        hub.read("gate", JsonMasks.RLE) as second,
        hub.read("gate", JsonMasks.NONE),
        hub.read("other", JsonMasks.POLYGON),
    ):
        await hub.publish(result())
        assert await anext(first) == await anext(second)
    assert sorted(encoded) == [JsonMasks.NONE, JsonMasks.RLE]


async def test_without_readers_no_results_are_wanted(hub: ResultsHub) -> None:
    assert not hub.wants(result())
    with hub.read("gate", JsonMasks.NONE):
        assert hub.wants(result())
        assert not hub.wants(result(stream_id="yard"))
    assert not hub.wants(result())
    assert hub.wants(status())


async def test_stalled_reader_keeps_the_newest_and_delays_no_other_reader(hub: ResultsHub) -> None:
    with hub.read("gate", JsonMasks.NONE) as stuck, hub.read("gate", JsonMasks.NONE) as quick:
        for index in range(50):
            await hub.publish(result(index))
            await hub.publish(event())
            assert json.loads(await anext(quick))["frame_index"] == index
            await anext(quick)
        for _ in range(OTHERS_PER_READER):
            await hub.publish(event())
        assert len(stuck) == FRAMES_PER_READER + OTHERS_PER_READER
        assert stuck.dropped == 48 + 50
        assert quick.dropped == 0
        waiting = [json.loads(await anext(stuck)) for _ in range(len(stuck))]
    frames = [each["frame_index"] for each in waiting if each["type"] == "frame"]
    assert frames == [48, 49]


async def test_reader_ends_when_its_stream_is_stopped(hub: ResultsHub) -> None:
    await hub.publish(status())
    with hub.read("gate", JsonMasks.NONE) as reader:
        await hub.publish(status(state=StreamState.STOPPED))
        assert [json.loads(text)["state"] async for text in reader] == ["live", "stopped"]
    with hub.read("gate", JsonMasks.NONE) as later:
        assert len(later) == 0


async def test_close_ends_every_reader(hub: ResultsHub) -> None:
    with hub.read("gate", JsonMasks.NONE) as reader:
        ended = asyncio.create_task(anext(reader, None))
        await asyncio.sleep(0)
        await hub.close()
        assert await ended is None


async def test_score_that_is_no_number_does_not_break_json(hub: ResultsHub) -> None:
    item = result(tracks=[replace(track(1), predicted_iou=float("nan"))])
    message = await text_of(hub, item, JsonMasks.NONE)
    assert message["objects"][0]["score"] == 0.0
