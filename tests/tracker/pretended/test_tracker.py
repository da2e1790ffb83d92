"""The whole tracker on a CUDA device that is not there: it finds what it finds on a processor.

Python takes the device's way everywhere: fixed shapes, captured graphs, packed masks, one
transfer. Not the first device, so that nothing relies on the one that is current.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.tracker.agreement.scripts import model_with, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tests.tracker.ahead import POLICIES, Ahead, assert_identical, tracker_of
from tests.tracker.little import LITTLE, assert_all_same, click, little_picture
from tests.tracker.pretended.device import pretended_cuda
from tests.tracker.pretended.graphs import Graph
from tests.tracker.step.test_submitting import SQUARE
from tracker import Prompt, RobustOptions, Track, Tracker, TrackerOptions
from tracker.images.transforms import pixels_at, prepare_image, prepare_yuv
from tracker.images.yuv import YuvPicture
from tracker.options import EngineOptions

DEVICE = "cuda:1"
SMOOTHED = 0.3
# Not two of one place, whose contest rounding would decide.
PROMPTS = {
    0: [click(1), click(2, 45, 12)],
    3: [click(1, 40, 40)],
    4: [Prompt(3, box_xyxy=(5, 5, 30, 30))],
    5: [Prompt(4, mask=SQUARE[:50, :61])],
}


def yuv_picture(seed: int) -> YuvPicture:
    """As FFmpeg gives them: with room behind every row."""
    generator = np.random.default_rng(seed)
    luma = generator.integers(0, 256, (64, 128), dtype=np.uint8)[:, :96]
    colours = generator.integers(0, 256, (32, 64, 2), dtype=np.uint8)[:, :48]
    return YuvPicture.of_nv12(luma, colours)


def everything(tracker: Tracker) -> Iterator[list[Track]]:
    """Every operation of a tracker, and its results."""
    first, second = tracker.open_session(history_frames=4), tracker.open_session()
    first.smooth_masks(SMOOTHED)
    for index in range(8):
        others = [click(7)] if index == 2 else []
        if index == 6:
            first.leave_out([1])
        yield from tracker.step(
            [
                (first, little_picture(index, 50, 61), PROMPTS.get(index, [])),
                (second, tracker.prepare(little_picture(20 + index)), others),
            ]
        )
    yield [tracker.preview(first, click(2, 30, 30), 5)]
    correction = tracker.correct(first, [click(2, 30, 30)], 5)
    yield correction.tracks
    yield correction.latest
    yield tracker.correct(first, [Prompt(9, box_xyxy=(4, 4, 30, 30))], anew=True).tracks
    tracker.set_image_size(32)
    yield from tracker.step([(first, little_picture(8, 50, 61), [])])
    memory = first.export_object(2)
    first.remove(2)
    first.note_gap(3)
    tracker.set_image_size(64)
    second.import_object(2, memory)
    for index in range(9, 12):
        yield from tracker.step(
            [(first, little_picture(index, 50, 61), []), (second, little_picture(index), [])]
        )
    second.close()
    yield from tracker.step([(first, little_picture(12, 50, 61), [])])


@POLICIES
def test_it_tracks_what_a_processor_tracks(robust: RobustOptions | None) -> None:
    expected = list(everything(tracker_of(robust, buffers=False)))
    with pretended_cuda(1):
        replays = Graph.replays
        tracker = tracker_of(robust, device=DEVICE)
        found = list(everything(tracker))
    assert Graph.replays > replays + 50
    assert [[track.object_id for track in own] for own in found] == [
        [track.object_id for track in own] for own in expected
    ]
    for ours, theirs in zip(found, expected, strict=True):
        assert_all_same(ours, theirs)
        for own, other in zip(ours, theirs, strict=True):
            assert own.state == other.state
            assert np.count_nonzero(own.mask != other.mask) <= 2  # at the edge, by rounding


def test_pictures_are_made_as_on_a_processor_to_half_a_level() -> None:
    """Planes, and images that were prepared for another size, are resized in float32 there."""

    def made(device: torch.device) -> list[torch.Tensor]:
        planes = prepare_yuv(yuv_picture(0), 64, device).pixels_13SS
        image = prepare_image(little_picture(1), 64, device).pixels_13SS
        return [planes.cpu(), image.cpu(), pixels_at(image, 32).cpu()]

    with pretended_cuda(1) as device:
        found = made(torch.device(DEVICE))
    # Planes with gaps between their rows, too.
    assert [copy.at_once for copy in device.copies if copy.to_device] == [True] * 4
    for ours, theirs in zip(found, made(torch.device("cpu")), strict=True):
        assert ours.dtype == torch.uint8
        assert (ours.int() - theirs.int()).abs().float().mean() < 0.5


@POLICIES
def test_a_step_waits_for_one_transfer_and_for_nothing_else(robust: RobustOptions | None) -> None:
    robust = robust and replace(robust, closer_look=False)  # the host waits for a first look
    with pretended_cuda(1) as device:
        tracker = tracker_of(robust, device=DEVICE)
        sessions = [tracker.open_session() for _ in range(2)]
        pictures = [little_picture(index, 50, 61) for index in range(8)]
        for index, picture in enumerate(pictures):
            # Before the first transfer of all there is nothing to be waited for.
            device.copies.clear()
            device.waits.clear()
            prompts = PROMPTS.get(index, [])
            pending = tracker.submit(
                [(sessions[0], picture, prompts), (sessions[1], little_picture(index), [click(8)])]
            )
            assert device.under_way
            (down,) = [copy for copy in device.copies if not copy.to_device]
            assert down.at_once
            assert all(copy.at_once for copy in device.copies)
            pending.collect()
            assert not device.under_way
            assert device.waits == []
            assert [copy for copy in device.copies if not copy.to_device] == [down]


@POLICIES
def test_steps_submitted_ahead_find_the_same(robust: RobustOptions | None) -> None:
    with pretended_cuda(1):
        plain, ahead = (tracker_of(robust, device=DEVICE) for _ in range(2))
        before = Ahead(ahead)
        session, other = ahead.open_session(), plain.open_session()
        expected = []
        for index in range(7):
            prompts = PROMPTS.get(index, [])
            before.step([(session, little_picture(index, 50, 61), prompts)])
            expected += plain.step([(other, little_picture(index, 50, 61), prompts)])
        before.end()
    for (ours,), theirs in zip(before.results, expected, strict=True):
        assert_identical(ours, theirs)


def tracker_with(engine: EngineOptions, dtype: str = "float32") -> Tracker:
    weights = amplified_weights(shapes_of(LITTLE), seed=1, object_score_bias=4.0)
    options = TrackerOptions(
        max_objects=3,
        return_logits=True,
        compute_dtype=dtype,  # type: ignore[arg-type]
        engine=engine,
    )
    return Tracker(model_with(LITTLE, weights), torch.device(DEVICE), options)


@pytest.mark.timeout(600)
def test_warmed_up_it_captures_nothing_in_service_and_replays_what_was_captured() -> None:
    engine = EngineOptions(
        smaller_image_sizes=(32,), row_sizes=(1, 2), image_sizes=(1, 2), attention="sdpa"
    )
    with pretended_cuda(1):
        graphs, plain = (tracker_with(each) for each in (engine, replace(engine, graphs="off")))
        reported: list[tuple[int, int]] = []
        graphs.warm_up(lambda done, total: reported.append((done, total)))
        assert reported[-1][0] == reported[-1][1]
        while graphs.warm_next():
            pass
        captured = graphs.engine_counts.captures
        sessions = [[tracker.open_session() for _ in range(2)] for tracker in (graphs, plain)]
        for index in range(10):
            prompts = {0: [click(1)], 3: [click(2), click(3)]}.get(index, [])
            ours, theirs = (
                tracker.step(
                    [(first, little_picture(index), prompts), (second, yuv_picture(index), [])]
                )
                for tracker, (first, second) in zip((graphs, plain), sessions, strict=True)
            )
            for own, other in zip(ours, theirs, strict=True):
                assert_all_same(own, other)
    assert graphs.engine_counts.in_service == 0
    assert graphs.engine_counts.captures == captured > 10


def test_graphs_that_went_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = EngineOptions(attention="sdpa")
    with pretended_cuda(1):
        few, plain = (
            tracker_with(each)
            for each in (replace(engine, most_graphs=3), replace(engine, graphs="off"))
        )
        sessions = few.open_session(), plain.open_session()
        for index in range(5):
            prompts = {0: [click(1)], 2: [click(2)]}.get(index, [])
            (ours,), (theirs,) = (
                tracker.step([(session, little_picture(index, 50, 61), prompts)])
                for tracker, session in zip((few, plain), sessions, strict=True)
            )
            assert_all_same(ours, theirs)
    assert few.engine_counts.evictions > 3


@pytest.mark.parametrize(("dtype", "tf32"), [("float32", False), ("bfloat16", True)])
def test_float32_is_float32_in_convolutions_too(dtype: str, tf32: bool) -> None:
    """PyTorch's own default is TF32 there, and not in products."""
    with pretended_cuda(1):
        torch.backends.cudnn.allow_tf32 = True
        tracker_with(EngineOptions(), dtype)
        assert torch.backends.cudnn.allow_tf32 == tf32
