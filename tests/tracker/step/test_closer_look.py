"""What a click or a box starts in a stream is looked at once more, larger and mirrored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.tracker.agreement.scripts import model_with, picture
from tests.tracker.little import LITTLE, assert_same, click, little_picture, little_tracker, step
from tracker import Prompt, RobustOptions, Track, Tracker, TrackerOptions, YuvPicture
from tracker.images.transforms import resize_logits
from tracker.options import EngineOptions
from tracker.step.frame_step import FrameStep

PICTURE = picture(5, 90, 160)
SMALL, LARGE = (100.0, 40.0, 120.0, 56.0), (2.0, 3.0, 150.0, 80.0)
# A square of 1.25 times the box's longer side around its middle.
PART = (slice(36, 61), slice(98, 123))


def tracker_of(*, closer: bool = True, **options: Any) -> Tracker:
    robust = RobustOptions(closer_look=closer, scene_cuts=False, write_iou=0, return_iou=0)
    return little_tracker(object_score_bias=30, robust=robust, max_objects=16, **options)


def box(object_id: int, corners: tuple[float, float, float, float]) -> Prompt:
    return Prompt(object_id, box_xyxy=corners)


def start(tracker: Tracker, *prompts: Prompt, image: Any = PICTURE) -> dict[int, Track]:
    return step(tracker, tracker.open_session(), image, *prompts)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The images of each batch that is encoded."""
    batches: list[int] = []
    encode = FrameStep.encode

    def counting(self: FrameStep, pixels: Any) -> Any:
        batches.append(len(pixels))
        return encode(self, pixels)

    monkeypatch.setattr(FrameStep, "encode", counting)
    return batches


def mean_of_both_views(image: Any, corners: tuple[float, float, float, float]) -> Track:
    """What a box starts without closer looks: the mean of a picture's and its mirror image's."""
    x0, y0, x1, y1 = corners
    width = image.shape[1]
    tracker = tracker_of(closer=False)
    plain = start(tracker, box(1, corners), image=image)[1]
    mirrored = np.ascontiguousarray(image[:, ::-1])
    other = start(tracker, box(1, (width - x1, y0, width - x0, y1)), image=mirrored)[1]
    assert plain.logits is not None
    assert other.logits is not None
    logits_hw = (plain.logits + other.logits[:, ::-1]) / 2
    mask_1SS = resize_logits(torch.from_numpy(logits_hw)[None, None], *image.shape[:2])[0] > 0
    iou = (plain.predicted_iou + other.predicted_iou) / 2
    return Track.of_mask(1, mask_1SS[0].numpy(), iou, None)


def test_a_small_box_starts_with_the_mask_of_the_part_around_it() -> None:
    found = start(tracker_of(), box(1, SMALL))[1]
    alone = mean_of_both_views(np.ascontiguousarray(PICTURE[PART]), (2, 4, 22, 20))
    assert found.predicted_iou == pytest.approx(alone.predicted_iou, abs=1e-4)
    # A mask of the whole picture has a cell for 2.5 pixels of it.
    inside = found.mask[PART]
    assert found.mask.sum() < inside.sum() + 60
    assert (inside == alone.mask).mean() > 0.8
    first = start(tracker_of(closer=False), box(1, SMALL))[1]
    assert (found.mask != first.mask).any()


def test_the_mask_is_remembered_as_one_that_was_given() -> None:
    looking, given = tracker_of(), tracker_of(closer=False)
    square = little_picture(5)  # at the network's size: a mask is given without loss
    ours, theirs = looking.open_session(), given.open_session()
    step(looking, ours, square, box(1, (40, 12, 52, 25)))
    mask_1SS = ours.frame(0).clicks[1].mask_1SS
    assert mask_1SS is not None
    step(given, theirs, square, Prompt(1, mask=mask_1SS[0].numpy() > 0))
    for seed in range(1, 4):
        own, other = (
            step(tracker, session, little_picture(seed))[1]
            for tracker, session in ((looking, ours), (given, theirs))
        )
        assert_same(own, other)


def test_what_fills_the_picture_is_seen_as_it_is_and_mirrored(encoded: list[int]) -> None:
    found = start(tracker_of(), box(1, LARGE))[1]
    assert encoded == [1, 2]
    alone = mean_of_both_views(PICTURE, LARGE)
    assert found.predicted_iou == pytest.approx(alone.predicted_iou, abs=1e-4)
    assert (found.mask == alone.mask).mean() > 0.9


def test_a_click_keeps_the_better_of_both_looks() -> None:
    places = list(enumerate(((9, 9), (80, 45), (140, 70), (30, 80))))
    looked = start(tracker_of(), *(click(n, x, y) for n, (x, y) in places))
    first = start(tracker_of(closer=False), *(click(n, x, y) for n, (x, y) in places))
    mirrored = start(
        tracker_of(closer=False),
        *(click(n, 160 - x, y) for n, (x, y) in places),
        image=np.ascontiguousarray(PICTURE[:, ::-1]),
    )
    for object_id, track in looked.items():
        both = (first[object_id].predicted_iou + mirrored[object_id].predicted_iou) / 2
        assert track.predicted_iou >= both - 1e-5


@pytest.mark.parametrize("fixed_shapes", ["off", "on"])
def test_each_object_of_a_step_has_its_own_look_and_others_stay(fixed_shapes: Any) -> None:
    engine = EngineOptions(fixed_shapes=fixed_shapes)
    starts = [box(2, SMALL), box(3, LARGE), box(4, (20, 20, 31, 42)), click(5, 60, 60)]
    tracker, plain = tracker_of(engine=engine), tracker_of(closer=False, engine=engine)
    given = Prompt(1, mask=PICTURE[..., 0] > 128)
    batches = []
    for each in (tracker, plain):
        session, other = each.open_session(), each.open_session()
        each.step([(session, PICTURE[::-1], [given]), (other, PICTURE, [given])])
        batches.append(each.step([(session, PICTURE, starts), (other, PICTURE[:, ::-1], [])]))
    (ours, other_stream), (without, expected) = batches
    assert_same(ours[0], without[0])
    assert_same(other_stream[0], expected[0])
    for track in ours[1:]:
        # Its tracker has seen other frames, which a start does not read.
        alone = start(
            tracker_of(), next(each for each in starts if each.object_id == track.object_id)
        )
        assert_same(track, alone[track.object_id], relative=1e-4)


def test_what_one_step_looks_at_is_bounded(encoded: list[int]) -> None:
    boxes = [box(place, (10.0 * place, 20, 10.0 * place + 9, 31)) for place in range(12)]
    found = start(tracker_of(), *boxes)
    assert encoded == [1, 8]
    first = start(tracker_of(closer=False), *boxes)
    for each in boxes[8:]:
        assert_same(found[each.object_id], first[each.object_id])
    encoded.clear()
    start(tracker_of(), *boxes[:4])
    assert encoded == [1, 8]  # mirrored too


def test_a_frame_of_the_history_is_looked_at_while_its_picture_is_kept() -> None:
    tracker = tracker_of()
    wanted = start(tracker, box(1, SMALL))[1]
    first = start(tracker_of(closer=False), box(1, SMALL))[1]
    limit: int | None = None
    for expected in (wanted, first):
        session = tracker.open_session(history_frames=4, history_bytes=limit)
        step(tracker, session, PICTURE, box(9, LARGE))  # so that it is encoded
        step(tracker, session, little_picture(1, 90, 160))
        assert (session.frame(0).image is PICTURE) == (limit is None)
        limit = session.history_bytes - 1
        assert_same(tracker.preview(session, box(1, SMALL), 0), expected)
        assert_same(tracker.correct(session, [box(1, SMALL)], 0).tracks[0], expected)


def test_pictures_prepared_or_in_planes_are_looked_at_too() -> None:
    tracker = tracker_of()
    wanted = start(tracker, box(1, SMALL))[1]
    assert_same(start(tracker, box(1, SMALL), image=tracker.prepare(PICTURE))[1], wanted)
    grey = PICTURE[..., 0]
    planes = YuvPicture(grey, *(np.full((45, 80), 128, np.uint8),) * 2, full_range=True)
    rgb = np.ascontiguousarray(np.repeat(grey[..., None], 3, axis=2))
    wanted = start(tracker, box(1, SMALL), image=rgb)[1]
    for image in (planes, tracker.prepare_yuv(planes)):
        found = start(tracker, box(1, SMALL), image=image)[1]
        assert found.predicted_iou == pytest.approx(wanted.predicted_iou, abs=0.02)
        assert (found.mask != wanted.mask).mean() < 0.01


def test_a_click_on_the_frame_corrects_the_mask_that_was_seen() -> None:
    tracker = tracker_of()
    session = tracker.open_session()
    step(tracker, session, PICTURE, box(1, SMALL))
    seen = session.frame(0).logits[1]
    beside = Prompt(1, points_xy=((112.0, 50.0),), point_labels=(0,))
    corrected = tracker.correct(session, [beside]).tracks[0]
    kept = session.frame(0).clicks[1]
    assert kept.labels_K.tolist() == [2, 3, 0]
    assert kept.mask_1SS is None
    assert corrected.logits is not None
    assert np.abs(corrected.logits).max() != pytest.approx(float(seen.abs().max()))


@pytest.mark.parametrize("policy", ["sam2", "robust"])
def test_the_papers_policy_and_large_views_look_once(policy: Any, encoded: list[int]) -> None:
    options = TrackerOptions(2, memory_policy=policy)
    if policy == "robust":
        options = TrackerOptions(2, engine=EngineOptions(image_size=512))
    model = model_with(LITTLE, little_tracker().model().state_dict())
    start(Tracker(model, little_tracker().device, options), box(1, SMALL))
    assert encoded == [1]
