"""The image size changes between steps: objects go on, and nothing of the larger size is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from tests.tracker.agreement.scripts import model_with, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tests.tracker.little import LITTLE, assert_same, click, little_picture, step
from tracker import (
    PRESETS,
    ModelConfig,
    Prompt,
    PromptError,
    Session,
    Track,
    Tracker,
    TrackerOptions,
)
from tracker.engine.image_sizes import sizes_of
from tracker.options import EngineOptions, RobustOptions

CPU = torch.device("cpu")
POLICIES = ("sam2", "robust")


def sized(
    engine: EngineOptions | None = None, config: ModelConfig = LITTLE, **options: Any
) -> Tracker:
    """A little tracker that sees every object; at 64, and at 32 where that is not the option."""
    weights = amplified_weights(shapes_of(config), seed=1, object_score_bias=30.0)
    return Tracker(
        model_with(config, weights),
        CPU,
        TrackerOptions(
            8,
            return_logits=True,
            engine=engine or EngineOptions(smaller_image_sizes=(32,)),
            robust=RobustOptions(),
            **options,
        ),
    )


def assert_equal(ours: Track, theirs: Track) -> None:
    """Bit for bit."""
    np.testing.assert_array_equal(ours.logits, theirs.logits)
    assert ours.predicted_iou == theirs.predicted_iou
    assert ours.object_score == theirs.object_score


def prompted(tracker: Tracker, frames: int = 4, **session: Any) -> Session:
    opened = tracker.open_session(**session)
    for index in range(frames):
        step(tracker, opened, little_picture(index), *([click(1)] if index == 0 else []))
    return opened


def follow(tracker: Tracker, session: Session, frames: Sequence[int]) -> list[Any]:
    return [step(tracker, session, little_picture(index))[1] for index in frames]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_size_set_before_any_prompt_is_that_of_a_tracker_made_for_it(
    policy: str,
) -> None:
    switched = sized(EngineOptions(smaller_image_sizes=(32,)), memory_policy=policy)
    switched.set_image_size(32)
    made = sized(EngineOptions(image_size=32), memory_policy=policy)
    assert switched.config == made.config
    sessions = [tracker.open_session() for tracker in (switched, made)]
    for index in range(10):
        prompts = [click(1), click(2, 50, 10)] if index in (0, 4) else []
        ours, theirs = (
            step(tracker, session, little_picture(index, 48, 80), *prompts)
            for tracker, session in zip((switched, made), sessions, strict=True)
        )
        assert_same(ours[1], theirs[1])
        assert_same(ours[2], theirs[2])


def test_all_sizes_have_the_same_weights_once() -> None:
    tracker = sized(EngineOptions(smaller_image_sizes=(32,)))
    full = tracker.model()
    tracker.set_image_size(32)
    small = tracker.model()
    assert small is not full
    for (name, own), (_, other) in zip(
        small.state_dict().items(), full.state_dict().items(), strict=True
    ):
        assert own.data_ptr() == other.data_ptr(), name
    assert small.config.image_size == 32
    assert full.config.image_size == 64


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_going_down_and_up_again_changes_nothing(policy: str, dtype: Any) -> None:
    config = LITTLE.replaced(memory_dtype=dtype)
    there_and_back = sized(config=config, memory_policy=policy)
    stayed = sized(config=config, memory_policy=policy)
    sessions = [prompted(tracker) for tracker in (there_and_back, stayed)]
    for _ in range(3):
        there_and_back.set_image_size(32)
        there_and_back.set_image_size(64)
    ours, theirs = (
        follow(tracker, session, range(4, 9))
        for tracker, session in zip((there_and_back, stayed), sessions, strict=True)
    )
    for own, other in zip(ours, theirs, strict=True):
        assert_equal(own, other)


@pytest.mark.parametrize("policy", POLICIES)
def test_objects_continue_at_the_smaller_size_with_unchanged_prompted_memories(
    policy: str,
) -> None:
    tracker = sized(memory_policy=policy)
    session = prompted(tracker)
    before = session.export_object(1)
    bank_bytes = tracker.memory_bank_bytes
    tracker.set_image_size(32)
    own = follow(tracker, session, range(4, 16))
    assert {track.logits.shape for track in own} == {(8, 8)}
    assert all(np.isfinite(track.logits).all() and track.area > 0 for track in own)
    # Another object starts in the same step.
    assert set(step(tracker, session, little_picture(16), click(2, 50, 10))) == {1, 2}
    session.remove(2)
    np.testing.assert_array_equal(session.export_object(1).spatial_FLc, before.spatial_FLc)
    tracker.set_image_size(64)
    np.testing.assert_array_equal(session.export_object(1).spatial_FLc, before.spatial_FLc)
    assert tracker.memory_bank_bytes == bank_bytes
    assert follow(tracker, session, [17])[0].logits.shape == (16, 16)


@pytest.mark.parametrize("image_size", [64, 32])
def test_a_memory_made_small_leaves_at_the_largest_size_and_comes_back(image_size: int) -> None:
    tracker = sized()
    tracker.set_image_size(32)
    memory = prompted(tracker).export_object(1)
    assert memory.spatial_FLc.shape == (1, 16, LITTLE.memory_dim)
    restarted = sized()
    restarted.set_image_size(image_size)
    session = restarted.open_session()
    session.import_object(1, memory)
    np.testing.assert_array_equal(session.export_object(1).spatial_FLc, memory.spatial_FLc)
    restarted.set_image_size(96 - image_size)
    assert follow(restarted, session, [9])[0].area > 0
    np.testing.assert_array_equal(session.export_object(1).spatial_FLc, memory.spatial_FLc)


def test_a_memory_taken_in_at_a_smaller_size_is_that_of_the_object_followed_there() -> None:
    memory = prompted(sized()).export_object(1)
    trackers = [sized(), sized()]
    trackers[0].set_image_size(32)
    sessions = [tracker.open_session() for tracker in trackers]
    for session in sessions:
        session.import_object(1, memory)
    trackers[1].set_image_size(32)
    ours, theirs = (
        follow(tracker, session, [9])[0]
        for tracker, session in zip(trackers, sessions, strict=True)
    )
    assert_equal(ours, theirs)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("side", [24, 200])  # the image is the smaller, or the features are
def test_frames_of_before_are_corrected_and_caught_up_from(policy: str, side: int) -> None:
    tracker = sized(memory_policy=policy)
    session = tracker.open_session(history_frames=6)
    x, y = 0.3 * side, 0.5 * side
    for index in range(4):
        step(
            tracker,
            session,
            little_picture(index, side, side),
            *([click(1, x, y)] if index == 0 else []),
        )
    session.hold(1)
    tracker.set_image_size(32)
    kept_bytes = session.history_bytes
    step(tracker, session, little_picture(4, side, side))
    for frame_index in (1, 3, 4, None):
        previewed = tracker.preview(session, click(1, x + 3, y), frame_index)
        correction = tracker.correct(session, [click(1, x + 3, y)], frame_index)
        assert_same(correction.tracks[0], previewed)
        assert correction.tracks[0].logits.shape == (8, 8)
        assert correction.latest[0].area > 0
    (other,) = tracker.correct(session, [click(2, 0.8 * side, 0.2 * side)], 2).latest
    assert other.logits.shape == (8, 8)
    tracker.set_image_size(64)
    assert session.history_bytes > kept_bytes
    correction = tracker.correct(session, [click(1, x, y + 2)], 2)
    assert correction.latest[0].logits.shape == (16, 16)


def test_what_was_clicked_and_found_on_a_frame_keeps_its_place() -> None:
    tracker = sized()
    session = prompted(tracker, 1)
    mask = np.zeros((64, 64), np.bool_)
    mask[10, 5:60] = True  # thinner than a pixel of the smaller size
    step(tracker, session, little_picture(1), Prompt(2, mask=mask))
    tracker.correct(session, [click(1, 10, 20)])
    before = session.kept_frames[-1].copy()
    tracker.set_image_size(32)
    frame = session.kept_frames[-1]
    np.testing.assert_array_equal(frame.clicks[1].points_K2, before.clicks[1].points_K2 / 2)
    small = frame.clicks[2].mask_1SS
    assert small is not None
    assert small.shape == (1, 32, 32)
    assert small[0, 5, 3:29].all()
    torch.testing.assert_close(
        frame.logits[1], torch.nn.functional.avg_pool2d(before.logits[1], 2), rtol=0.3, atol=3.0
    )


def test_masks_without_overlap_and_smoothed_ones_survive_the_change() -> None:
    tracker = sized(non_overlap=True)
    session = prompted(tracker)
    session.smooth_masks(0.3)
    step(tracker, session, little_picture(4), click(2, 50, 10))
    for size in (32, 64, 32):
        tracker.set_image_size(size)
        tracker.correct(session, [click(1, 22, 30)])
        tracks = step(tracker, session, little_picture(size))
        assert {track.logits.shape[0] for track in tracks.values()} == {size // 4}


def test_images_prepared_for_another_of_the_sizes_are_taken() -> None:
    tracker = sized()
    session = prompted(tracker)
    large = tracker.prepare(little_picture(9, 100, 200))
    tracker.set_image_size(32)
    (track,) = tracker.step([(session, large, [])])[0]
    assert track.mask.shape == (100, 200)
    tracker.correct(session, [click(1)])
    small = tracker.prepare(little_picture(9, 100, 200))
    assert small.pixels_13SS.shape[2] == 32
    tracker.set_image_size(64)
    (track,) = tracker.step([(session, small, [])])[0]
    assert track.logits is not None
    assert track.logits.shape == (16, 16)
    strange = sized(EngineOptions(image_size=96)).prepare(little_picture(9))
    with pytest.raises(
        ValueError, match="prepared for a network of 96 pixels, this one takes 64 o"
    ):
        tracker.step([(session, strange, [])])


@pytest.mark.parametrize("policy", POLICIES)
def test_a_step_on_its_way_is_of_the_size_it_was_begun_at(policy: str) -> None:
    tracker, stayed = sized(memory_policy=policy), sized(memory_policy=policy)
    session, other = prompted(tracker), prompted(stayed)
    pending = tracker.submit([(session, little_picture(4), [])])
    tracker.set_image_size(32)
    later = tracker.submit([(session, little_picture(5), [])])
    ((own,),) = pending.collect()
    assert_equal(own, step(stayed, other, little_picture(4))[1])
    ((after,),) = later.collect()
    assert after.logits is not None
    assert after.logits.shape == (8, 8)
    stayed.set_image_size(32)
    assert_same(after, step(stayed, other, little_picture(5))[1])


def test_a_change_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    trackers = [sized(), sized()]
    sessions = [prompted(tracker) for tracker in trackers]

    def fails(*_: object) -> None:
        raise RuntimeError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr("tracker.memory.grids.resampled", fails)
        with pytest.raises(RuntimeError, match="out of memory"):
            trackers[0].set_image_size(32)
    assert trackers[0].config.image_size == 64
    ours, theirs = (
        follow(tracker, session, range(4, 7))
        for tracker, session in zip(trackers, sessions, strict=True)
    )
    for own, other in zip(ours, theirs, strict=True):
        assert_equal(own, other)


def test_a_correction_that_fails_leaves_memories_of_the_larger_size_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracker = sized()
    session = prompted(tracker)
    before = session.export_object(1)
    tracker.set_image_size(32)
    step(tracker, session, little_picture(4))

    def fails(*_: object) -> None:
        raise RuntimeError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(session, "frames_after", lambda _: [session.frame(None)])
        patch.setattr("tracker.step.correction.Corrector._catch_up", fails)
        with pytest.raises(RuntimeError, match="out of memory"):
            tracker.correct(session, [click(1, 40, 40)])
    np.testing.assert_array_equal(session.export_object(1).spatial_FLc, before.spatial_FLc)


def test_nothing_is_new_in_service_after_the_warm_up_at_any_size() -> None:
    tracker = sized(EngineOptions(fixed_shapes="on", smaller_image_sizes=(32,)))
    reported: list[tuple[int, int]] = []
    tracker.warm_up(lambda done, steps: reported.append((done, steps)))
    assert reported[-1][0] == reported[-1][1] == len(reported)
    while tracker.warm_next():
        assert tracker.config.image_size == 64
    session = prompted(tracker, 9)
    tracker.set_image_size(32)
    follow(tracker, session, range(9, 12))
    tracker.set_image_size(64)
    follow(tracker, session, range(12, 14))
    assert tracker.engine_counts.in_service == 0


def test_a_warm_up_leaves_what_is_tracked_alone() -> None:
    trackers = [sized(), sized()]
    sessions = [prompted(tracker) for tracker in trackers]
    trackers[0].warm_up()
    ours, theirs = (
        follow(tracker, session, [4])[0]
        for tracker, session in zip(trackers, sessions, strict=True)
    )
    assert_equal(ours, theirs)


def test_sizes_that_cannot_be_are_refused() -> None:
    tracker = sized()
    assert tracker.image_sizes == (64, 32)
    with pytest.raises(ValueError, match="image_size must be one of 64, 32, got 48"):
        tracker.set_image_size(48)
    with pytest.raises(ValueError, match="must be below the image size 64, got 64"):
        sized(EngineOptions(smaller_image_sizes=(64,)))
    with pytest.raises(ValueError, match="multiples of 32, got \\[40\\]"):
        EngineOptions(smaller_image_sizes=(40,))
    with pytest.raises(ValueError, match="must descend, got \\[32, 64\\]"):
        EngineOptions(smaller_image_sizes=(32, 64))
    session = prompted(tracker)
    tracker.set_image_size(32)
    with pytest.raises(PromptError, match="frame 0 is not in the history"):
        tracker.correct(session, [click(1)], 0)


@pytest.mark.parametrize(
    ("image_size", "expected"),
    [(1024, (1024, 768, 512)), (256, (256, 192, 128)), (96, (96, 64)), (64, (64,))],
)
def test_sizes_of_their_own_are_three_quarters_and_a_half(
    image_size: int, expected: tuple[int, ...]
) -> None:
    assert sizes_of(EngineOptions(smaller_image_sizes="auto"), image_size) == expected


def test_sizes_of_a_perceiver_are_whole_windows() -> None:
    options = EngineOptions(smaller_image_sizes="auto")
    step = PRESETS["edgetam"].image_size_step
    assert sizes_of(options, 1024, step) == (1024, 768, 512)
    assert sizes_of(options, 512, step) == (512, 256)
    assert sizes_of(options, 256, step) == (256,)
    with pytest.raises(ValueError, match="must be a multiple of 256, got 384"):
        PRESETS["edgetam"].replaced(image_size=384)
